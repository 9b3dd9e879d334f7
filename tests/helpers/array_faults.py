"""How an array can be spoilt, by whom it can be lent, and how that must be refused."""

from typing import NamedTuple

import numpy as np

from optimizers import OTHER, TAKES_DLPACK, locked


def shifted(array, offset):
    """A copy that starts `offset` bytes past an aligned address."""
    raw = np.zeros(array.nbytes + 64 + offset, np.uint8)
    start = -raw.ctypes.data % 64 + offset
    copy = raw[start : start + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy


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
            "goes": BESIDE[array.dtype.name],
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


def field_of_records(a):
    records = np.zeros(a.shape, [("number", a.dtype), ("flag", "?")])
    records["number"] = a
    return records["number"]


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
    "field of records": field_of_records,
}
READ_ONLY = Fault(lambda a: locked(a.copy()), ValueError, "a writeable array", "a read-only one")
# What goes with a parameter, in messages.
BESIDE = {
    "float32": "float32, bfloat16 or float16 beside its parameter of float32",
    "float64": "float64 like its parameter",
}
DTYPE_CHANGES = ("uint16", "longdouble", "int32", "int64", "bool", "complex64", "object")

GRADIENT_FAULTS = {
    **COMMON,
    **{
        dtype: Fault(
            lambda a, d=dtype: a.astype(d), TypeError, "dtype {goes}", str(np.dtype(dtype))
        )
        for dtype in DTYPE_CHANGES
    },
    "other float": Fault(
        lambda a: a.astype(OTHER[a.dtype.name]), TypeError, "dtype {goes}", "{other}"
    ),
    "structured": Fault(lambda a: a.view([("x", a.dtype)]), TypeError, "dtype {goes}", "[('x'"),
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
    **{
        name: Fault(spoil, TypeError, "dtype {dtype} like its", got)
        for name, spoil, got in (
            ("other float", lambda a: a.astype(OTHER[a.dtype.name]), "{other}"),
            ("bits", lambda a: a.astype(np.uint16), "uint16"),
        )
    },
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
            "dtype float32, float64, bfloat16 or float16",
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
            make,
            ValueError,
            "a contiguous array (its axes in any order)",
            "shape (3, 5) with strides",
        )
        for name, make in LAYOUTS.items()
    },
}
