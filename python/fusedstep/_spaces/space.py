"""What optimizers, averages and functions require of the memory that holds their arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core

__all__ = ["Kind", "Space"]


class Kind(Protocol):
    """The dtype and shape of an array."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """As NumPy's dtype."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The length of each axis."""


class Space(Protocol):
    """Host memory or a CUDA device."""

    def stepper(self, rule: str, *words: str) -> _core.Stepper:
        """A compiled core for a rule; `words` replace those of its messages."""

    def share_threads(self, core: _core.Stepper) -> None:
        """Let steps of torch tensors use the threads of torch's backward pass."""

    def zeros(
        self,
        role: str,
        names: Sequence[str],
        leaves: Sequence[Any],
        copies: int,
        rowwise: str = "",
    ) -> list[list[Any]]:
        """Allocate, for each array, this many zeroed arrays like it; TypeError for other objects.

        For a row-wise rule, whose name is `rowwise`, they have one number per row.
        """

    def kind_of(self, array: Any) -> Kind:
        """The dtype and shape of an array."""

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """The values as a NumPy array: a view of host memory, a copy from a device."""

    def like(self, value: NDArray[Any], leaf: Any) -> Any:
        """A NumPy array as an array like `leaf`: in host memory itself, on a device a copy."""

    def copy(self, to: Any, value: Any) -> None:
        """Copy an array of this space into another."""

    def copy_of(self, array: Any) -> Any:
        """A new array with the same values."""

    def fill(self, buffers: Sequence[Any], value: float) -> None:
        """Set all elements of new arrays."""

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """Copy each array into a new one like it."""

    def check_grad_scale(self, value: object) -> Any:
        """Return the divisor of the gradients, or raise TypeError or ValueError."""
