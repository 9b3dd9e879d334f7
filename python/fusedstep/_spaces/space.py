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
        layouts: Sequence[Sequence[str]],
        rowwise: str = "",
    ) -> list[list[Any]]:
        """Allocate, for each array, zeroed arrays in its layouts; TypeError for other objects.

        A layout is "native" (float32, or float64 beside float64), a format of the core, or
        "scales": a float32 for each 128 elements. All others have the array's shape and order; for
        a row-wise rule, whose name is `rowwise`, one number per row.
        """

    def formats(
        self, role: str, names: Sequence[str], leaves: Sequence[Any]
    ) -> list[tuple[str, int]]:
        """The format and size of each array; TypeError for other objects."""

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

    def fill(
        self, buffers: Sequence[Any], value: float, layout: str, scales: Sequence[Any]
    ) -> None:
        """Set all elements of new arrays; in those with scales, which are codes of `layout`."""

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """Copy each array into a new one in its native layout."""

    def as_parameter(self, value: Any, leaf: Any) -> Any:
        """A new array like a parameter, with the values of an array in its native layout.

        Of a narrow parameter they are rounded to nearest, and it may be an array of its bits.
        """

    def decoded(
        self,
        array: Any,
        layout: str,
        *,
        scales: Any = None,
        correction: Any = None,
        rounding: str = "nearest",
    ) -> NDArray[Any]:
        """The numbers of an array in a narrow layout, as a new array of NumPy's.

        With its scales; or with the correction of a parameter that is rounded so.
        """

    def check_grad_scale(self, value: object) -> Any:
        """Return the divisor of the gradients, or raise TypeError or ValueError."""
