"""Arrays as other libraries hold them: parameters, and their low-precision working copies."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["as_array", "as_bits"]


def as_array(leaf: Any) -> NDArray[Any]:
    """A parameter that was taken, as NumPy's view of its memory."""
    if isinstance(leaf, np.ndarray):
        return leaf
    # A tensor that autograd follows lends its memory through its detached twin alone.
    return np.from_dlpack(leaf.detach() if getattr(leaf, "requires_grad", False) else leaf)


class _Bits:
    """A torch tensor of bfloat16 as its bits, which NumPy can view.

    Not the view alone: that would keep old memory where the tensor's own is exchanged. The core
    asks the tensor, `bits_of`, whether it was.
    """

    def __init__(self, tensor: Any) -> None:
        self.bits_of = tensor

    def __dlpack__(self, **options: Any) -> Any:
        bits = self.bits_of.detach().view(sys.modules["torch"].uint16)
        return bits.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.bits_of.__dlpack_device__()


def as_bits(copy: object) -> object:
    """A torch tensor of bfloat16 as its bits; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(copy, torch.Tensor) and copy.dtype == torch.bfloat16:
        return _Bits(copy)
    return copy
