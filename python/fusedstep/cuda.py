"""Arrays on a CUDA device. Imported where the first one is seen, or on purpose.

Arrays are those of torch, CuPy or Numba, which also allocate the state; gradients may be of any
library that has ``__cuda_array_interface__`` or speaks DLPack on CUDA. Another library's arrays can
be parameters where somebody says how it allocates: see :class:`Library` and :data:`libraries`.

A step runs on the current stream of the first parameter's library (Numba: its default stream)
and does not wait for the device. What waits: ``state_dict``, ``load_state_dict`` of counters,
``opt.state[name]`` (its ``step``), an ``ema`` with bias correction, ``step_rows`` with indices on
the device, ``error_if_nonfinite``; and ``step_count``, with it a schedule, where only the device
knows how many steps there were: with ``skip_nonfinite``, and from the first step on that was
captured in a CUDA graph. While one is being captured, these are a ValueError.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fusedstep import _cuda
from fusedstep.pipeline import check_grad_scale

if TYPE_CHECKING:
    from fusedstep import _core

__all__ = ["CuPy", "DeviceSpace", "Library", "Numba", "Torch", "libraries", "library_of"]


class Library(Protocol):
    """What is asked of an array library."""

    def takes(self, array: object) -> bool:
        """Whether the array is this library's."""

    def zeros_like(self, array: Any) -> Any:
        """Zeros of the same shape, dtype, memory order and device."""

    def zeros(self, array: Any, size: int) -> Any:
        """So many zeros in one dimension, of the same dtype and device."""

    def scalar(self, array: Any, dtype: str) -> Any:
        """An array of no dimension on the device of `array`, of dtype "bool" or "float64"."""

    def copy(self, to: Any, value: Any) -> None:
        """Copy one array of the library into another."""

    def stream(self, array: Any) -> int:
        """The current stream on the device of `array`, as a number; 0 is the default stream."""


class Torch:
    """Tensors of PyTorch."""

    def takes(self, array: object) -> bool:
        """See Library."""
        torch = sys.modules.get("torch")
        return torch is not None and isinstance(array, torch.Tensor)

    def zeros_like(self, array: Any) -> Any:
        """See Library."""
        torch = sys.modules["torch"]
        return torch.zeros_like(array.detach(), memory_format=torch.preserve_format)

    def zeros(self, array: Any, size: int) -> Any:
        """See Library."""
        torch = sys.modules["torch"]
        return torch.zeros(size, dtype=array.dtype, device=array.device)

    def scalar(self, array: Any, dtype: str) -> Any:
        """See Library."""
        torch = sys.modules["torch"]
        return torch.empty((), dtype=getattr(torch, dtype), device=array.device)

    def copy(self, to: Any, value: Any) -> None:
        """See Library."""
        to.detach().copy_(value.detach())

    def stream(self, array: Any) -> int:
        """See Library."""
        return int(sys.modules["torch"].cuda.current_stream(array.device).cuda_stream)


class CuPy:
    """Arrays of CuPy."""

    def takes(self, array: object) -> bool:
        """See Library."""
        cupy = sys.modules.get("cupy")
        return cupy is not None and isinstance(array, cupy.ndarray)

    def zeros_like(self, array: Any) -> Any:
        """See Library."""
        with array.device:
            return sys.modules["cupy"].zeros_like(array)

    def zeros(self, array: Any, size: int) -> Any:
        """See Library."""
        with array.device:
            return sys.modules["cupy"].zeros(size, dtype=array.dtype)

    def scalar(self, array: Any, dtype: str) -> Any:
        """See Library."""
        with array.device:
            return sys.modules["cupy"].empty((), dtype=dtype)

    def copy(self, to: Any, value: Any) -> None:
        """See Library."""
        with to.device:
            to[...] = value

    def stream(self, array: Any) -> int:
        """See Library."""
        with array.device:
            return int(sys.modules["cupy"].cuda.get_current_stream().ptr)


class Numba:
    """Device arrays of Numba."""

    def takes(self, array: object) -> bool:
        """See Library."""
        return type(array).__module__.split(".")[0] in ("numba", "numba_cuda")

    def zeros_like(self, array: Any) -> Any:
        """See Library."""
        new = sys.modules["numba.cuda"].device_array_like(array)
        _cuda.from_numpy(new, np.zeros(array.shape, array.dtype), self.stream(array))
        return new

    def zeros(self, array: Any, size: int) -> Any:
        """See Library."""
        new = sys.modules["numba.cuda"].device_array(size, array.dtype)
        _cuda.from_numpy(new, np.zeros(size, array.dtype), self.stream(array))
        return new

    def scalar(self, array: Any, dtype: str) -> Any:  # noqa: ARG002
        """See Library."""
        return sys.modules["numba.cuda"].device_array((), np.dtype(dtype))

    def copy(self, to: Any, value: Any) -> None:
        """See Library."""
        to.copy_to_device(value)

    def stream(self, array: Any) -> int:  # noqa: ARG002
        """See Library."""
        handle = sys.modules["numba.cuda"].default_stream().handle
        return int(getattr(handle, "value", handle) or 0)


# Asked in this order; another library is taken in by appending to the list.
libraries: list[Library] = [Torch(), CuPy(), Numba()]


def library_of(array: object, subject: str = "array") -> Library:
    """The library that an array belongs to, or TypeError."""
    for library in libraries:
        if library.takes(array):
            return library
    raise TypeError(
        f"{subject}: expected an array of torch, CuPy or Numba, whose library allocates the state "
        f"beside it, got {type(array).__name__}"
    )


class _Kind(NamedTuple):
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class DeviceSpace:
    """A CUDA device: arrays of libraries that run there. See fusedstep.spaces.Space."""

    def __init__(self, subject: str, leaf: Any) -> None:
        """Take the first of the arrays, whose library tells the stream."""
        self._leaf, self._library = leaf, library_of(leaf, subject)

    def _stream(self) -> int:
        return self._library.stream(self._leaf)

    def stepper(self, rule: str, *words: str) -> _core.Stepper:
        """See Space."""
        scalar = functools.partial(self._library.scalar, self._leaf)
        stepper: Any = _cuda.Stepper(rule, *words, stream=self._stream, scalar=scalar)
        return stepper  # type: ignore[no-any-return]

    def share_threads(self, core: _core.Stepper) -> None:
        """See Space: a device has its own."""

    def zeros(
        self,
        role: str,
        names: Sequence[str],
        leaves: Sequence[Any],
        copies: int,
        rowwise: str = "",
    ) -> list[list[Any]]:
        """See Space."""
        _cuda.check(role, names, leaves, self._stream(), rowwise)
        arrays = []
        for name, leaf in zip(names, leaves, strict=True):
            library = library_of(leaf, f"{role} {name!r}")
            if rowwise:
                rows = [*self.kind_of(leaf).shape, 1][0]  # a number alone is one row
                arrays.append([library.zeros(leaf, rows) for _ in range(copies)])
            else:
                arrays.append([library.zeros_like(leaf) for _ in range(copies)])
        return arrays

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

    def fill(self, buffers: Sequence[Any], value: float) -> None:
        """See Space."""
        for array in buffers:
            kind = self.kind_of(array)
            _cuda.from_numpy(array, np.full(kind.shape, value, kind.dtype), self._stream())

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """See Space."""
        for array, leaf in zip(buffers, leaves, strict=True):
            self.copy(array, leaf)

    def as_copy(self, array: object) -> object:
        """See Space."""
        return array

    def check_grad_scale(self, value: object) -> Any:
        """See Space. An array is the core's to check."""
        is_number = isinstance(value, (int, float, np.generic, np.ndarray))
        shaped = hasattr(value, "shape") and not is_number
        return value if shaped else check_grad_scale(value)
