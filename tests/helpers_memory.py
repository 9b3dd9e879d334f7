"""Arrays in awkward places, and proof that a failing call has touched nothing."""

import ctypes
import mmap
import operator
import os
import subprocess
import sys
from contextlib import contextmanager
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

import fusedstep as fs
from cases import option_sets, same_bits

NAMES = ("first", "middle", "last")
OTHER = {"float32": "float64", "float64": "float32"}


def states_of(rule, options):
    """The names of the state that these options give the rule."""
    own = fs.create(rule, np.zeros(1), **options).state["param"]
    return [name for name in own if name != "step"]


@cache
def richest(rule):
    """Options that give the rule all the state that it can have."""
    return max(option_sets(rule), key=lambda options: len(states_of(rule, options)))


def numbers(seed, dtype, shape=(3, 5), names=NAMES):
    """Arrays by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name in names}


def running(rule, dtype, shape=(3, 5)):
    """An optimizer over three arrays that has all its state and has made two steps."""
    opt = fs.create(rule, numbers(1, dtype, shape), **richest(rule))
    for seed in (2, 3):
        opt.step(numbers(seed, dtype, shape))
    return opt


def image(thing):
    """All that can be seen of an array, down to its bytes."""
    if not isinstance(thing, np.ndarray):
        return repr(thing)
    a = np.asarray(thing)
    return a.dtype.str, a.shape, a.strides, a.flags.writeable, a.ctypes.data, a.tobytes("A")


def everything(opt, *others):
    """All that a failing call must leave as it was."""
    return (
        {name: image(param) for name, param in opt.params.items()},
        {name: {k: image(v) for k, v in own.items()} for name, own in opt.state.items()},
        [{**group, "rate": group.lr, "params": group.params} for group in opt.groups],
        opt.step_count,
        [image(other) for other in others],
    )


def viewed(array):
    return array if isinstance(array, np.ndarray) else np.from_dlpack(array)


def same_everywhere(opt, twin):
    """Parameters and state to the last bit, and counters."""
    if opt.step_count != twin.step_count or [*opt.state] != [*twin.state]:
        return False
    for name in opt.state:
        mine, theirs = dict(opt.state[name]), dict(twin.state[name])
        if mine.pop("step") != theirs.pop("step") or [*mine] != [*theirs]:
            return False
        pairs = [(mine[state], theirs[state]) for state in mine]
        pairs.append((viewed(opt.params[name]), viewed(twin.params[name])))
        if not all(same_bits(a, b) for a, b in pairs):
            return False
    return True


@contextmanager
def refused(opt, error, *words, untouched=()):
    """The body raises exactly `error` with `words` in its message, and nothing has moved."""
    before = everything(opt, *untouched)
    with pytest.raises(error) as caught:
        yield
    assert everything(opt, *untouched) == before
    complains(caught, error, *words)


def complains(caught, error, *words):
    """The exception is of exactly this class, and its message has all the words."""
    assert caught.type is error
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message


def shifted(array, offset):
    """A copy that starts `offset` bytes past an aligned address."""
    raw = np.zeros(array.nbytes + 64 + offset, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


TAKES_DLPACK = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
needs_dlpack = pytest.mark.skipif(not TAKES_DLPACK, reason="views through DLPack take NumPy 2.1")


class Exporter:
    """Not an array, but lends one through DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, **kwargs):
        return self.array.__dlpack__(**kwargs)

    def __dlpack_device__(self):
        return (1, 0)


class BadExporter(Exporter):
    """Raises where it should lend its array."""

    def __dlpack__(self, **kwargs):
        raise self.array


def python(script, *arguments, **environment):
    """Run a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def locked(array):
    array.setflags(write=False)
    return array


# How gradients reach an optimizer.
WAYS = {
    "step": lambda opt, bad, good: opt.step(bad),  # noqa: ARG005
    "bind": lambda opt, bad, good: opt.bind(bad),  # noqa: ARG005
    "step_mean, first set": lambda opt, bad, good: opt.step_mean([bad, good]),
    "step_mean, last set": lambda opt, bad, good: opt.step_mean([good, good, bad]),
    "step_sum": lambda opt, bad, good: opt.step_sum([good, bad]),
}


class Fault(NamedTuple):
    """How to spoil an array, and how that must be refused."""

    spoil: object
    error: type
    expected: str
    got: str

    def words(self, role, name, array):
        known = {
            "dtype": array.dtype,
            "other": OTHER[array.dtype.name],
            "item": array.itemsize,
            "shape": array.shape,
            "swapped": array.dtype.newbyteorder("S").str,
        }
        return [
            f"{role} '{name}'",
            "expected " + self.expected.format(**known),
            "got " + self.got.format(**known),
        ]


def broadcast(a):
    return np.lib.stride_tricks.as_strided(a[0].copy(), a.shape, (0, a.itemsize))


AN_ARRAY = "a NumPy array (or a CPU array that supports DLPack)"
CAME_STRIDES = "shape {shape} with strides ("

# What no array of numbers may be.
COMMON = {
    "scalar": Fault(
        lambda a: a.dtype.type(1), TypeError, "an array", "a NumPy scalar: use np.asarray(...)"
    ),
    "float": Fault(lambda a: 1.0, TypeError, AN_ARRAY, "float"),  # noqa: ARG005
    "string": Fault(lambda a: "abc", TypeError, AN_ARRAY, "str"),  # noqa: ARG005
    "masked": Fault(np.ma.array, TypeError, "a plain NumPy array", "a masked array"),
    "foreign byte order": Fault(
        lambda a: a.astype(a.dtype.newbyteorder("S")),
        ValueError,
        "native byte order",
        "dtype {swapped}",
    ),
    **{
        f"address+{k}": Fault(
            lambda a, k=k: shifted(a, k % a.itemsize or 1),
            ValueError,
            "an aligned array (address divisible by {item})",
            "an address",
        )
        for k in range(1, 8)
    },
}
LAYOUTS = {
    "sliced": lambda a: np.repeat(a, 2, axis=1)[:, ::2],
    "rows sliced": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[:, ::-1].copy()[:, ::-1],
    "all reversed": lambda a: a[::-1, ::-1].copy()[::-1, ::-1],
    "0-stride": broadcast,
}
READ_ONLY = Fault(lambda a: locked(a.copy()), ValueError, "a writeable array", "a read-only one")
DTYPE_CHANGES = ("float16", "longdouble", "int32", "int64", "bool", "complex64", "object")

GRADIENT_FAULTS = {
    **COMMON,
    **{
        dtype: Fault(
            lambda a, d=dtype: a.astype(d), TypeError, "dtype {dtype} like", str(np.dtype(dtype))
        )
        for dtype in DTYPE_CHANGES
    },
    "other float": Fault(
        lambda a: a.astype(OTHER[a.dtype.name]), TypeError, "dtype {dtype} like its", "{other}"
    ),
    "structured": Fault(
        lambda a: a.view([("x", a.dtype)]), TypeError, "dtype {dtype} like", "[('x'"
    ),
    "list": Fault(lambda a: a.tolist(), TypeError, AN_ARRAY, "list"),
    **{
        f"shape {shape}": Fault(
            lambda a, s=shape: np.resize(a, s), ValueError, "shape {shape} like its", str(shape)
        )
        for shape in [(5, 3), (15,), (3, 5, 1), (1, 3, 5), (2, 5), (4, 5), (0, 5), (1, 1), ()]
    },
    **{
        name: Fault(make, ValueError, "a contiguous array in C order like its", CAME_STRIDES)
        for name, make in {**LAYOUTS, "Fortran": np.asfortranarray}.items()
    },
}

# What no state may be; those of row-wise rules have one axis.
STATE_FAULTS = {
    **{name: fault for name, fault in GRADIENT_FAULTS.items() if fault.error is ValueError},
    "other float": GRADIENT_FAULTS["other float"],
    "read-only": READ_ONLY,
}
STATE_OF_ROWS_FAULTS = {
    **{n: fault for n, fault in STATE_FAULTS.items() if n not in {*LAYOUTS, "Fortran"}},
    "the parameter's shape": Fault(
        lambda a: np.resize(a, (3, 5)), ValueError, "shape {shape} like its", "(3, 5)"
    ),
    "sliced": Fault(
        lambda a: np.repeat(a, 2)[::2],
        ValueError,
        "a contiguous array in C order like its parameter's rows",
        CAME_STRIDES,
    ),
}

PARAMETER_FAULTS = {
    **COMMON,
    **{
        dtype: Fault(
            lambda a, d=dtype: a.astype(d),
            TypeError,
            "dtype float32 or float64",
            str(np.dtype(dtype)),
        )
        for dtype in DTYPE_CHANGES
    },
    "None": Fault(lambda a: None, TypeError, AN_ARRAY, "NoneType"),  # noqa: ARG005
    "read-only": READ_ONLY,
    "read-only DLPack": Fault(
        lambda a: Exporter(locked(a.copy())),
        *(
            (ValueError, "a writeable array", "a read-only one")
            if TAKES_DLPACK
            else (
                TypeError,
                "an array that NumPy can view through DLPack without a copy",
                "Exporter (requires NumPy >= 2.1",
            )
        ),
    ),
    **{
        name: Fault(
            make, ValueError, "a contiguous array (C or Fortran order)", "shape (3, 5) with strides"
        )
        for name, make in LAYOUTS.items()
    },
    "permuted": Fault(
        lambda a: np.resize(a, (2, 3, 4)).transpose(1, 2, 0),
        ValueError,
        "a contiguous array (C or Fortran order)",
        "shape (3, 4, 2) with strides",
    ),
}


class VirtualArray:
    """A huge array in little memory: one small piece of memory, mapped over and over.

    The windows, ranges of bytes on page boundaries, have memory of their own.
    """

    PIECE = 1 << 21

    def __init__(self, size, dtype, windows, fill=None):
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.mmap.restype = ctypes.c_void_p
        self._libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3
        self._libc.mmap.argtypes += [ctypes.c_long]
        self._libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        nbytes = size * np.dtype(dtype).itemsize
        self._length = -(-nbytes // self.PIECE) * self.PIECE
        private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000  # MAP_NORESERVE
        self._address = self._map(None, self._length, private)
        if fill is not None:
            self._repeat(fill, dtype)
        elif hasattr(mmap, "MADV_HUGEPAGE"):  # fewer page faults, where the kernel likes
            self._libc.madvise(self._address, self._length, mmap.MADV_HUGEPAGE)
        for start, stop in windows:
            self._map(self._address + start, stop - start, private | 0x10)  # MAP_FIXED
        buffer = (ctypes.c_char * nbytes).from_address(self._address)
        self.array = np.frombuffer(buffer, dtype)
        rest = windows[-1][1] - nbytes
        self.beyond = np.frombuffer(
            (ctypes.c_char * rest).from_address(self._address + nbytes), "u1"
        )

    def _map(self, address, length, flags, fd=-1):
        access = mmap.PROT_READ | mmap.PROT_WRITE
        result = self._libc.mmap(address, length, access, flags, fd, 0)
        if result in (None, ctypes.c_void_p(-1).value):
            raise OSError(ctypes.get_errno(), "mmap")
        return result

    def _repeat(self, fill, dtype):
        fd = os.memfd_create("fusedstep-test")
        try:
            os.write(fd, np.full(self.PIECE // np.dtype(dtype).itemsize, fill, dtype))
            for start in range(0, self._length, self.PIECE):
                self._map(self._address + start, self.PIECE, mmap.MAP_SHARED | 0x10, fd)
        finally:
            os.close(fd)

    def close(self):
        """Unmap; the array must not be used any more."""
        self._libc.munmap(self._address, self._length)


def at(saved, path):
    for key in path:
        saved = saved[key]
    return saved


def replace(*path):
    """A function that puts the last argument at the path of the others."""
    *path, key, value = path
    return lambda saved: operator.setitem(at(saved, path), key, value)


def remove(*path):
    *path, key = path
    return lambda saved: operator.delitem(at(saved, path), key)


# How the saved state of running("adam", "float32") can be spoilt, and what must be said of it.
SAVED_WRONG = {
    "format": (replace("format", 99), "format: expected 1, got 99"),
    "rule": (replace("rule", "lion"), "rule: expected 'adam', got 'lion'"),
    "step_count": (replace("step_count", -1), "step_count: expected an integer", "got -1"),
    "step_count True": (replace("step_count", True), "step_count: expected", "got True"),
    "step_count too large": (replace("step_count", 2**63), f"2**63 - 1, got {2**63}"),
    "no parameter": (remove("state", "middle"), "parameter 'middle': missing"),
    "another parameter": (replace("state", "v", {}), "parameter 'v': unexpected"),
    "no state": (remove("state", "last", "exp_avg"), "parameter 'last': state 'exp_avg' missing"),
    "another state": (
        replace("state", "first", "sum", np.zeros((3, 5))),
        "parameter 'first': state 'sum' unexpected",
    ),
    "no counter": (remove("state", "last", "step"), "parameter 'last': state 'step' missing"),
    "counter": (
        replace("state", "last", "step", -5),
        "parameter 'last': step: expected",
        "got -5",
    ),
    "shape": (
        replace("state", "last", "exp_avg_sq", np.zeros((5, 3), "float32")),
        "parameter 'last': state 'exp_avg_sq': expected shape (3, 5), got (5, 3)",
    ),
    "dtype": (
        replace("state", "middle", "exp_avg", np.zeros((3, 5))),
        "parameter 'middle': state 'exp_avg': expected dtype float32, got float64",
    ),
    "byte order": (
        replace(
            "state", "middle", "exp_avg_sq", np.zeros((3, 5), np.dtype("f4").newbyteorder("S"))
        ),
        "parameter 'middle': state 'exp_avg_sq': expected dtype float32, got",
    ),
    "list": (
        replace("state", "first", "exp_avg_sq", [[0.0] * 5] * 3),
        "parameter 'first': state 'exp_avg_sq': expected an array, got list",
    ),
    "too many groups": (lambda saved: saved["groups"].append({}), "groups: expected 1, got 2"),
    "group": (replace("groups", 0, "params", ["first", "w"]), "group 0: expected the parameters"),
    "no option": (remove("groups", 0, "eps"), "group 0: option 'eps' missing"),
    "another option": (replace("groups", 0, "mu", 1), "group 0: option 'mu' unexpected"),
    "bad option": (replace("groups", 0, "eps", -1), "group 0: eps: expected", "got -1"),
    "other state": (replace("groups", 0, "amsgrad", False), "group 0: amsgrad cannot be changed"),
    "no groups": (replace("groups", None), "groups: expected", "got"),
    "group a list": (replace("groups", 0, [1]), "group 0: expected", "got"),
    "no mapping of state": (replace("state", None), "state: expected", "got"),
    "no mapping of a state": (replace("state", "first", 3), "parameter 'first': expected", "got"),
}
