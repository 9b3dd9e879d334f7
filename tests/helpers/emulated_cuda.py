"""The CUDA module with the CPU playing the device, and arrays of a library that lives there."""

import ctypes
import importlib
import importlib.util
import sys

import numpy as np
import pytest

import dlpack_in_c
import fusedstep

CAPTURING = 0xCA96  # tests/native/cuda_runtime.cpp says that this stream and the next are captured


def load(path):
    """The module, as `fusedstep._cuda`."""
    spec = importlib.util.spec_from_file_location("fusedstep._cuda", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fusedstep._cuda"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def emulated_module(native_tree):
    """The file of the emulated module."""
    return native_tree.module()


_loaded = {}  # a module is initialised once a process


@pytest.fixture
def emulated(emulated_module, monkeypatch):
    """`fusedstep._cuda` is the emulated module, and Fake's library is known, while a test runs."""
    # A build with a module of its own has it back afterwards.
    monkeypatch.delitem(sys.modules, "fusedstep._cuda", raising=False)
    if emulated_module not in _loaded:
        _loaded[emulated_module] = load(emulated_module)
    module = sys.modules["fusedstep._cuda"] = _loaded[emulated_module]
    monkeypatch.setattr(fusedstep, "_cuda", module, raising=False)
    for name in ("fusedstep.cuda", "fusedstep._spaces.device"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.delattr(fusedstep, "cuda", raising=False)
    face = importlib.import_module("fusedstep.cuda")
    monkeypatch.setattr(face, "libraries", [FakeLibrary(), *face.libraries])
    yield module
    # Other tests see the build as it is.
    del sys.modules["fusedstep._cuda"], sys.modules["fusedstep.cuda"], fusedstep.cuda
    sys.modules.pop("fusedstep._spaces.device", None)


class Fake:
    """An array in the memory of the played device: `__cuda_array_interface__` and nothing else."""

    def __init__(self, memory, **changes):
        self.memory, self.changes = memory, changes

    @property
    def __cuda_array_interface__(self):
        if isinstance(self.changes.get("raises"), Exception):
            raise self.changes["raises"]
        a = self.memory
        contiguous = a.flags.c_contiguous
        return {
            "shape": a.shape,
            "typestr": a.dtype.str,
            "data": (a.ctypes.data, not a.flags.writeable),
            "strides": None if contiguous else a.strides,
            "version": 3,
            **self.changes,
        }

    @property
    def shape(self):
        return self.memory.shape


class FakeDLPack:
    """The same through DLPack alone, on a device of one's choice."""

    def __init__(self, memory, device=0, kind=2, address=None):
        self.memory, self.device, self.kind = memory, device, kind
        self.address = memory.ctypes.data if address is None else address

    def __dlpack_device__(self):
        return (self.kind, self.device)

    def __dlpack__(self, *, stream=None, **_):
        assert stream is not None
        return capsule(self.memory, self.address, self.kind, self.device)

    @property
    def shape(self):
        return self.memory.shape


class _ManagedVersioned(ctypes.Structure):
    """DLManagedTensorVersioned."""

    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", dlpack_in_c.Description),
    )


class _Managed(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (
        ("tensor", dlpack_in_c.Description),
        ("context", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


_lent = []  # what capsules point to


def _described(a, address, kind=2, device=0):
    integers = ctypes.c_int64 * a.ndim
    shape = integers(*a.shape)
    strides = integers(*(stride // a.itemsize for stride in a.strides))
    codes = {"f": 2, "i": 0, "u": 1, "b": 6, "V": 4}  # of ml_dtypes there is bfloat16 alone
    tensor = dlpack_in_c.Description(
        *(address, kind, device, a.ndim, codes[a.dtype.kind], a.itemsize * 8, 1),
        *(shape, strides, 0),
    )
    _lent.append((shape, strides, a))
    return tensor


def capsule(a, address, kind, device):
    """A capsule of DLPack 0.8 over an array's memory, which lives as long as this process."""
    managed = _Managed(_described(a, address, kind, device))
    _lent.append(managed)
    return dlpack_in_c.capsule(ctypes.addressof(managed), b"dltensor")


def versioned_capsule(a, major, flags, **changes):
    """The same of DLPack 1, or of a later version, with changes of its description."""
    managed = _ManagedVersioned(major=major, flags=flags, tensor=_described(a, a.ctypes.data))
    for name, value in changes.items():
        setattr(managed.tensor, name, value)
    _lent.append(managed)
    return dlpack_in_c.capsule(ctypes.addressof(managed), b"dltensor_versioned")


class FakeLibrary:
    """What fusedstep.cuda.Library asks, of both."""

    current_stream = 0

    def takes(self, array):
        return isinstance(array, (Fake, FakeDLPack))

    def zeros_like(self, array, dtype=None):
        return Fake(np.zeros_like(array.memory, dtype=dtype))

    def zeros(self, array, size, dtype=None):
        return Fake(np.zeros(size, dtype or array.memory.dtype))

    def scalar(self, array, dtype):  # noqa: ARG002
        return Fake(np.zeros((), dtype))

    def copy(self, to, value):
        np.copyto(to.memory, value.memory)

    def stream(self, array):  # noqa: ARG002
        return FakeLibrary.current_stream


def device_array(array, offset=0):
    """A copy of a NumPy array on the device, in its memory order, `offset` bytes off a line."""
    array = np.asarray(array)
    raw = np.zeros(array.nbytes + 64 + 64, np.uint8)
    start = (-raw.ctypes.data) % 64 + offset
    flat = raw[start : start + array.nbytes].view(array.dtype)
    strides = np.empty_like(array).strides
    memory = np.lib.stride_tricks.as_strided(flat, array.shape, strides)
    memory[...] = array
    # __cuda_array_interface__ has no name for bfloat16.
    return FakeDLPack(memory) if array.dtype.kind == "V" else Fake(memory)


def to_numpy(array):
    """What lies on the device now; a view."""
    return array.memory


def on_device(tree):
    """A nest of NumPy arrays, on the device."""
    if isinstance(tree, dict):
        return {name: on_device(branch) for name, branch in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [on_device(branch) for branch in tree]
    return tree if tree is None else device_array(tree)


def floats(*shape, dtype=np.float32):
    """Numbers in a shape, all different."""
    return np.arange(np.prod(shape, dtype=int), dtype=dtype).reshape(shape) / 7


def refused(error, message, call, *arguments, **options):
    """The call raises exactly this."""
    with pytest.raises(error) as info:
        call(*arguments, **options)
    assert str(info.value) == message
    return info.value


def image(opt):
    """All that a step could move: parameters, averages, state, and the counter."""
    arrays = [*opt.params.values(), *opt.ema.values()]
    arrays += [a for own in opt.state.values() for k, a in own.items() if k != "step"]
    return [to_numpy(array).tobytes() for array in arrays], opt.step_count
