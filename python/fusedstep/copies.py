"""Arrays as other libraries hold them: parameters, and their low-precision working copies."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array", "as_bits"]


def as_array(leaf: Any) -> NDArray[Any]:
    """A parameter that was taken, as NumPy's view of its memory."""
    return leaf if isinstance(leaf, np.ndarray) else np.from_dlpack(leaf)


def as_bits(copy: object) -> object:
    """A torch tensor of bfloat16 as its bits, which NumPy can view; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(copy, torch.Tensor) and copy.dtype == torch.bfloat16:
        return copy.view(torch.uint16)
    return copy
