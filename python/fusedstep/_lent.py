"""State that the caller owns: arrays by the names of their parameters and their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from fusedstep._checks import as_integer
from fusedstep._formats import scales_name
from fusedstep._messages import listed, shown
from fusedstep._slips import state_meant

__all__ = ["LentState", "check_lent", "counter_of", "lent_arrays"]

LentState: TypeAlias = Mapping[str, Mapping[str, Any]]

_COUNTER = "step"


def check_lent(state: object) -> LentState:
    """Return the state as a mapping of mappings, or raise TypeError."""
    if not isinstance(state, Mapping):
        raise TypeError(
            "state: expected a mapping from parameter names to mappings of arrays, got "
            f"{shown(state)}"
        )
    for name, own in state.items():
        if not isinstance(own, Mapping):
            raise TypeError(
                f"state of {shown(name)}: expected a mapping of arrays, got {shown(own)}"
            )
    return state


def lent_arrays(name: str, own: Mapping[str, Any], layouts: Mapping[str, str]) -> dict[str, Any]:
    """The arrays of a parameter, or TypeError or ValueError where it has none of these names."""
    what = f"state of {shown(name)}"
    arrays = {array: value for array, value in own.items() if array != _COUNTER}
    for array, value in arrays.items():
        if array not in layouts:
            there_are = listed([*layouts, _COUNTER])
            raise ValueError(
                f"{what}: no state is named {state_meant(array, layouts)}; there are {there_are}"
            )
        if value is None:
            raise TypeError(f"{what}: expected an array as {shown(array)}, got None")
        dtype = str(getattr(value, "dtype", ""))
        if dtype.endswith("bfloat16"):  # which NumPy does not know
            raise TypeError(
                f"{what}: expected the bits of bfloat16, as uint16, as {shown(array)}, got {dtype}: "
                "use .view()"
            )
    for array in layouts:  # codes mean nothing without their scales
        scales = scales_name(array)
        if scales in layouts and (array in arrays) != (scales in arrays):
            missing = scales if array in arrays else array
            raise ValueError(
                f"{what}: expected {array!r} and {scales!r} together, got no {missing!r}"
            )
    return arrays


def counter_of(name: str, own: Mapping[str, Any]) -> int | None:
    """The steps that a parameter has made, if that is given, or raise TypeError or ValueError."""
    if _COUNTER not in own:
        return None
    return as_integer(f"state of {shown(name)}: step", own[_COUNTER], 0, 2**63 - 1)
