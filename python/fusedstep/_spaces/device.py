"""Arrays on a CUDA device. Imported only where there are any."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core, _cuda
from fusedstep._messages import printable
from fusedstep._options import check_grad_scale
from fusedstep.cuda import library_of

__all__ = ["DeviceSpace"]


class _Kind(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class DeviceSpace:
    """The memory of a CUDA device. See fusedstep._spaces.space.Space."""

    def __init__(self, subject: str, leaf: Any) -> None:
        """Take the first of the arrays, whose library has the stream."""
        self._leaf, self._library = leaf, library_of(leaf, subject)

    def _stream(self) -> int:
        return self._library.stream(self._leaf)

    def stepper(self, rule: str, *words: str) -> _core.Stepper:
        """See Space."""
        scalar = functools.partial(self._library.scalar, self._leaf)
        stepper = _cuda.Stepper(rule, *words, stream=self._stream, scalar=scalar)
        return cast(_core.Stepper, stepper)  # both have the same methods

    def share_threads(self, core: _core.Stepper) -> None:
        """See Space. Steps on a device use no threads of the host."""

    def zeros(
        self,
        role: str,
        names: Sequence[str],
        leaves: Sequence[Any],
        layouts: Sequence[Sequence[str]],
        rowwise: str = "",
    ) -> list[list[Any]]:
        """See Space."""
        _cuda.check(role, names, leaves, self._stream(), rowwise)
        arrays = []
        for name, leaf, own in zip(names, leaves, layouts, strict=True):
            if any(layout != "native" for layout in own):
                raise NotImplementedError("narrow formats on a CUDA device")
            library = library_of(leaf, f"{role} '{printable(name)}'")
            if rowwise:
                rows = [*self.kind_of(leaf).shape, 1][0]  # a number alone is one row
                arrays.append([library.zeros(leaf, rows) for _ in own])
            else:
                arrays.append([library.zeros_like(leaf) for _ in own])
        return arrays

    def formats(
        self, role: str, names: Sequence[str], leaves: Sequence[Any]
    ) -> list[tuple[str, int]]:
        """See Space."""
        _cuda.check(role, names, leaves, self._stream())
        kinds = [self.kind_of(leaf) for leaf in leaves]
        return [(kind.dtype.name, math.prod(kind.shape)) for kind in kinds]

    def kind_of(self, array: Any) -> _Kind:
        """See Space."""
        dtype, shape = _cuda.kind_of(array)
        return _Kind(dtype, tuple(shape))

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """See Space."""
        return _cuda.to_numpy(array, self._stream())

    def like(self, value: NDArray[Any], leaf: Any) -> Any:
        """See Space."""
        new = library_of(leaf).zeros_like(leaf)
        _cuda.from_numpy(new, value, self._stream())
        return new

    def copy(self, to: Any, value: Any) -> None:
        """See Space."""
        library_of(to).copy(to, value)

    def copy_of(self, array: Any) -> Any:
        """See Space."""
        library = library_of(array)
        new = library.zeros_like(array)
        library.copy(new, array)
        return new

    def fill(
        self,
        buffers: Sequence[Any],
        value: float,
        layout: str,  # noqa: ARG002
        scales: Sequence[Any],  # noqa: ARG002
    ) -> None:
        """See Space."""
        for array in buffers:
            kind = self.kind_of(array)
            _cuda.from_numpy(array, np.full(kind.shape, value, kind.dtype), self._stream())

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """See Space."""
        for array, leaf in zip(buffers, leaves, strict=True):
            self.copy(array, leaf)

    def as_parameter(self, value: Any, leaf: Any) -> Any:  # noqa: ARG002
        """See Space."""
        return self.copy_of(value)

    def decoded(
        self,
        array: Any,
        layout: str,
        *,
        scales: Any = None,
        correction: Any = None,
        rounding: str = "nearest",
    ) -> NDArray[Any]:
        """See Space."""
        here = [None if one is None else self.to_numpy(one) for one in (array, scales, correction)]
        return _core.decoded(here[0], layout, here[1], here[2], rounding)

    def check_grad_scale(self, value: object) -> Any:
        """See Space. The core checks an array."""
        is_number = isinstance(value, (int, float, np.generic, np.ndarray))
        shaped = hasattr(value, "shape") and not is_number
        return value if shaped else check_grad_scale(value)
