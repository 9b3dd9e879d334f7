"""Data as NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_plain_array"]


def as_plain_array(name: str, data: object) -> NDArray[Any]:
    """Return the data as an array, or raise TypeError where that would lose something.

    A masked array would lose its mask, and its masked values would be data; a sparse one of SciPy
    would be an object without axes.
    """
    if isinstance(data, np.ma.MaskedArray):
        raise TypeError(f"{name}: expected a plain NumPy array, got a masked array")
    if hasattr(data, "toarray"):
        raise TypeError(
            f"{name}: expected a plain NumPy array, got a sparse {type(data).__name__}, which is "
            "not supported: use its toarray()"
        )
    return np.asarray(data)
