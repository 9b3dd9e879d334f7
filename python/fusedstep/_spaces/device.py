"""Arrays on a CUDA device. Imported only where there are any."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core, _cuda
from fusedstep._formats import is_narrow
from fusedstep._messages import printable
from fusedstep._options import check_grad_scale
from fusedstep.cuda import Library, library_of

__all__ = ["DeviceSpace"]


class _Kind(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


def _zeros(library: Library, leaf: Any, dtype: str | None, length: int | None) -> Any:
    """Zeros beside an array: like it, or of one axis."""
    other = [dtype] if dtype else []  # a library of one's own may know no others
    if length is None:
        return library.zeros_like(leaf, *other)
    return library.zeros(leaf, length, *other)


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
        forms = _cuda.forms_beside(role, names, leaves, layouts, self._stream(), rowwise)
        arrays = []
        for name, leaf, own in zip(names, leaves, forms, strict=True):
            library = library_of(leaf, f"{role} '{printable(name)}'")
            arrays.append([_zeros(library, leaf, dtype, length) for dtype, length in own])
        return arrays

    def formats(
        self, role: str, names: Sequence[str], leaves: Sequence[Any]
    ) -> list[tuple[str, int]]:
        """See Space."""
        return _cuda.formats_of(role, names, leaves, self._stream())

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
        self._write(new, value)
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
        self, buffers: Sequence[Any], value: float, layout: str, scales: Sequence[Any]
    ) -> None:
        """See Space. The host knows how a number is written."""
        for array, own_scales in zip(buffers, scales, strict=True):
            written = [array] if own_scales is None else [array, own_scales]
            here: list[Any] = [np.zeros_like(self.to_numpy(one)) for one in written]
            _core.fill_buffers(here[:1], value, layout=layout, scales=here[1:] or [None])
            for one, numbers in zip(written, here, strict=True):
                self._write(one, numbers)

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """See Space. Of narrow arrays the host reads the numbers."""
        formats = self.formats("value", [""] * len(leaves), leaves)
        for array, leaf, (own_format, _) in zip(buffers, leaves, formats, strict=True):
            if is_narrow(own_format):
                self._write(array, self.decoded(leaf, own_format))
            else:
                self.copy(array, leaf)

    def as_parameter(self, value: Any, leaf: Any) -> Any:
        """See Space."""
        ((own_format, _),) = self.formats("parameter", [""], [leaf])
        if not is_narrow(own_format):
            return self.copy_of(value)
        ((new,),) = self.zeros("parameter", [""], [leaf], [[own_format]])
        bits = self.to_numpy(new)
        _core.fill_buffers([bits], values=[self.to_numpy(value)], layout=own_format)
        self._write(new, bits)
        return new

    def _write(self, array: Any, value: NDArray[Any]) -> None:
        _cuda.from_numpy(array, value, self._stream())

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
