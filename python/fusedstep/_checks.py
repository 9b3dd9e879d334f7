"""Checks of single numbers, which return Python's own int or float."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

import numpy as np

from fusedstep._messages import shown

__all__ = ["as_flag", "as_integer", "as_number", "is_integer", "require_keys"]


def is_integer(value: object) -> TypeGuard[int | np.integer[Any]]:
    """Whether this is a Python or NumPy integer.

    Python counts bool among the integers, and NumPy timedelta64; here both are mistakes.
    """
    return isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64))


def as_flag(name: str, value: object) -> bool:
    """Return `value` as a bool, or raise TypeError: the string "False" would count as true."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False, got {shown(value)}")
    return bool(value)


def as_integer(name: str, value: object, at_least: int, at_most: float = math.inf) -> int:
    """Return `value` as an int, or raise TypeError or ValueError."""
    bounds = f">= {at_least}" if at_most == math.inf else f"from {at_least} to {at_most}"
    if is_integer(value) and at_least <= (integer := int(value)) <= at_most:
        return integer
    error = ValueError if is_integer(value) else TypeError
    raise error(f"{name}: expected an integer {bounds}, got {shown(value)}")


def as_number(
    name: str,
    value: object,
    expected: str,
    accepts: Callable[[float], bool],
    *,
    finite: bool = True,
    nan: bool = False,
) -> float:
    """Return a Python number, a NumPy number or a 0-d array of any library as a float, or raise.

    `expected` describes in the message what `accepts` accepts. NaN is refused unless `nan` is True,
    infinity unless `finite` is False.
    """
    given = value
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    elif getattr(value, "shape", None) == () and not isinstance(value, np.generic):
        value = value.item() if hasattr(value, "item") else value  # torch, JAX
    error: type[Exception] = TypeError
    if is_integer(value) or isinstance(value, (float, np.floating)):
        error = ValueError
        try:
            number = float(value)
        except OverflowError:  # an integer beyond all floats
            number = math.inf
        refused = (math.isnan(number) and not nan) or (math.isinf(number) and finite)
        if not refused and accepts(number):
            return number
    raise error(f"{name}: expected {expected}, got {shown(given)}")


def require_keys(saved: object, *keys: str, name: str = "state_dict") -> None:
    """Raise TypeError or ValueError unless `saved` is a mapping with these keys."""
    if not isinstance(saved, Mapping):
        raise TypeError(f"{name}: expected a mapping, got {type(saved).__name__}")
    if missing := [key for key in keys if key not in saved]:
        raise ValueError(f"{name}: missing keys: {', '.join(missing)}")
