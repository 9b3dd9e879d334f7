"""The contestants' names, by which reports, goals and the picture know them."""

from fusedstep._bench.contestants import OURS

PASSED = f"{OURS}, gradients passed"
ONE_THREAD = f"{OURS}, 1 thread"
DROP_IN = f"{OURS}.torch"
# One optimizer per parameter, which steps as soon as its gradient is there.
IN_BACKWARD = "{}, in the backward pass"
ROOFLINE = "same-stream roofline"
TEXTBOOK = "NumPy textbook"
IN_PLACE = "NumPy in place"
DEEPSPEED, FUSED, FOREACH = "DeepSpeedCPUAdam", "torch fused", "torch foreach"
NUMBA = "Numba parallel"
# For a goal of the MLP: no peer, since the list is not one array.
NUMBA_ONE_ARRAY = f"{NUMBA}, one array"
# Of narrow modes: what a call costs beside the arithmetic.
CALL = f"{OURS}, one element"
OPTAX = "optax jit"
