"""How an optimizer stores its arrays: the options, and which format each array has under them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusedstep import _core
from fusedstep._messages import shown
from fusedstep._options import Choice, Count, Option

__all__ = [
    "AVERAGE",
    "STORAGE_OPTIONS",
    "check_parameter",
    "check_together",
    "code_of",
    "correction_of",
    "fields",
    "is_narrow",
    "is_plain",
    "layout_of",
    "layouts",
    "rounding_of",
    "scales_name",
    "scales_of",
    "state_bits",
]

# Options that each group may set, and that are fixed at construction.
STORAGE_OPTIONS: Mapping[str, Option] = {
    "state_dtype": Option("state_dtype", Choice(("float32", "bfloat16", "8bit")), "float32"),
    "min_8bit_size": Option("min_8bit_size", Count(), 4096),
    "rounding": Option("rounding", Choice(("nearest", "stochastic", "kahan")), "nearest"),
    "master": Option("master", Choice((None, "split")), None),
    "master_bits": Option("master_bits", Choice((32, 24)), 32),
}

AVERAGE = "ema"  # the names of arrays, beside those of a rule's states
_CORRECTIONS = {"split": "correction", "kahan": "compensation"}

_STATE_BITS = {"float32": 32, "bfloat16": 16, "8bit": 8}
_CODES = {"average": "signed8", "square": "unsigned8"}  # of what may have 8 bits
_NARROW = ("bfloat16", "float16")  # the formats of parameters for which rounding matters


def state_bits(values: Mapping[str, Any]) -> int:
    """The fewest bits that a number of a state may have under these options."""
    return _STATE_BITS[values["state_dtype"]]


def rounding_of(values: Mapping[str, Any]) -> str:
    """How narrow parameters are rounded, as the core calls it."""
    return str(values["master"] or values["rounding"])


def is_narrow(parameter_format: str) -> bool:
    """Whether a parameter of this format has fewer bits than its steps are computed in."""
    return parameter_format in _NARROW


def is_plain(values: Mapping[str, Any]) -> bool:
    """Whether all is stored as computed under these options, but narrow parameters."""
    return state_bits(values) == 32 and rounding_of(values) == "nearest"


def check_together(
    values: Mapping[str, Any], label: str, info: _core.RuleInfo, variant: int
) -> None:
    """Raise ValueError for options that do not go together, or not with the states of the rule."""
    if values["master"] is not None and values["rounding"] != "nearest":
        raise ValueError(
            "rounding: expected 'nearest' with master, which loses nothing, got "
            f"{shown(values['rounding'])}"
        )
    if values["master"] is None and values["master_bits"] != 32:
        raise ValueError(
            f"master_bits: expected master='split' with it, got {values['master_bits']} without"
        )
    state_dtype, contents = values["state_dtype"], info.contents[variant]
    if state_dtype == "float32":
        return
    expected = "'float32'"
    if info.rowwise:
        why = f"the states of {label} have one number per row"
    elif not contents:
        why = f"{label} has no state with these options"
    elif all(content == "exact" for content in contents):
        why = f"no state of {label} may lose bits"
    elif state_dtype == "8bit" and not any(content in _CODES for content in contents):
        why, expected = f"8 bits are too few for any state of {label}", "'float32' or 'bfloat16'"
    else:
        return
    raise ValueError(f"state_dtype: expected {expected}, since {why}, got {shown(state_dtype)}")


def check_parameter(values: Mapping[str, Any], name: str, parameter_format: str) -> None:
    """Raise TypeError where a parameter of this format cannot do with the options of its group."""
    if state_bits(values) != 32 and parameter_format == "float64":
        expected, option = "float32, bfloat16 or float16", "state_dtype"
    elif rounding_of(values) != "nearest" and not is_narrow(parameter_format):
        expected, option = "bfloat16 or float16", "master" if values["master"] else "rounding"
    else:
        return
    raise TypeError(
        f"parameter {shown(name)}: expected dtype {expected} with {option}={values[option]!r}, got "
        f"{parameter_format}: put it into a group of its own"
    )


def layouts(
    values: Mapping[str, Any],
    contents: Mapping[str, str],
    parameter_format: str,
    size: int,
    *,
    average: bool,
) -> dict[str, str]:
    """The arrays beside a parameter, in order, each with how it is stored.

    That is a format of the core, "native" (float32, or float64 as the parameter), or the "scales"
    of the blocks of the array before it. `contents` are those of the states by name.
    """
    result: dict[str, str] = {}
    bits = state_bits(values)
    if bits == 8 and size < values["min_8bit_size"]:
        bits = 32
    for state, content in contents.items():
        if bits == 32 or content == "exact":
            result[state] = "native"
        elif bits == 8 and content in _CODES:
            result |= {state: _CODES[content], scales_name(state): "scales"}
        else:
            result[state] = "bfloat16"
    rounding = rounding_of(values)
    if rounding == "split":
        result[_CORRECTIONS[rounding]] = f"correction{values['master_bits'] - 16}"
    elif rounding == "kahan":
        result[_CORRECTIONS[rounding]] = parameter_format
    if average:
        result[AVERAGE] = "native"
    return result


def correction_of(arrays: Mapping[str, Any]) -> Any:
    """The correction of a parameter among the arrays beside it, or None."""
    return next((arrays[name] for name in _CORRECTIONS.values() if name in arrays), None)


def fields(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays beside a parameter, as TensorSpec has them."""
    others = {AVERAGE, *_CORRECTIONS.values(), *map(scales_name, arrays)}
    states = [name for name in arrays if name not in others]
    return {
        "states": [arrays[name] for name in states],
        "scales": [scales_of(arrays, name) for name in states],
        "average": arrays.get(AVERAGE),
        "correction": correction_of(arrays),
    }


def scales_name(state: str) -> str:
    """What the scales of a state are called."""
    return f"{state}_scale"


def scales_of(arrays: Mapping[str, Any], state: str) -> Any:
    """The scales of a state among the arrays beside a parameter, or None."""
    return arrays.get(scales_name(state))


def code_of(content: str) -> str:
    """The layout of a state that has 8 bits a number; "native" where it cannot."""
    return _CODES.get(content, "native")


def layout_of(array_dtype: str, content: str) -> str:
    """How a state is stored whose array has this dtype."""
    return {"uint16": "bfloat16", "uint8": code_of(content)}.get(array_dtype, "native")
