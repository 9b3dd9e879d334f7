"""Low-precision working copies, as other libraries hold them."""

from __future__ import annotations

import sys

__all__ = ["as_bits"]


def as_bits(copy: object) -> object:
    """A torch tensor of bfloat16 as its bits, which NumPy can view; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(copy, torch.Tensor) and copy.dtype == torch.bfloat16:
        return copy.view(torch.uint16)
    return copy
