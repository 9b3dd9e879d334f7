"""What a build with the CUDA module says of this machine's devices: their names, or why none."""

import sys

import fusedstep
from fusedstep import _cuda

there = fusedstep.show_config("dict")["cuda"]
print(there)
if isinstance(there, list):
    sys.exit(0 if there and _cuda.device_count() == len(there) else "devices, but none counted")


class Array:
    """What an array on a device would look like."""

    shape = (3,)
    __cuda_array_interface__ = {  # noqa: RUF012 - what the protocol asks for
        "shape": shape,
        "typestr": "<f4",
        "data": (4096, False),
        "version": 3,
    }


try:
    fusedstep.SGD({"w": Array()})
except RuntimeError as error:
    print(error)
    why = _cuda.why_no_device()
    sys.exit(0 if why and why in str(error) and why in there else "the reason is not told")
sys.exit("a CUDA array was taken without a device")
