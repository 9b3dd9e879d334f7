"""Numbers that somebody hands over, as Python's own: checked once, refused in one form of words."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

__all__ = ["as_integer", "as_number"]


def as_integer(name: str, value: object, at_least: int, at_most: float = math.inf) -> int:
    """Return `value` as an int, or raise TypeError or ValueError.

    Python counts bool among the integers and NumPy time spans; both are slips here.
    """
    bounds = f">= {at_least}" if at_most == math.inf else f"from {at_least} to {at_most}"
    message = f"{name}: expected an integer {bounds}, got {value!r}"
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, (int, np.integer)):
        raise TypeError(message)
    if not at_least <= int(value) <= at_most:
        raise ValueError(message)
    return int(value)


def as_number(
    name: str,
    value: object,
    expected: str,
    accepts: Callable[[float], bool],
    *,
    finite: bool = True,
) -> float:
    """Return a Python number, a NumPy number or a 0-d array of any library as a float, or raise.

    `expected` says in the message what `accepts` accepts; NaN never is, infinity unless `finite`.
    """
    message = f"{name}: expected {expected}, got {value!r}"
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    elif getattr(value, "shape", None) == () and not isinstance(value, np.generic):
        value = value.item() if hasattr(value, "item") else value  # torch, JAX
    real = (int, float, np.integer, np.floating)
    if isinstance(value, (bool, np.timedelta64)) or not isinstance(value, real):
        raise TypeError(message)
    try:
        number = float(value)
    except OverflowError:  # an integer beyond all floats
        number = math.inf
    if math.isnan(number) or (finite and math.isinf(number)) or not accepts(number):
        raise ValueError(message)
    return number
