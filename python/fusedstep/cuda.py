"""The array libraries whose CUDA arrays can be parameters: torch, CuPy, Numba, or your own.

The library of a parameter also allocates its state; gradients may be of any library that has
``__cuda_array_interface__`` or supports DLPack on CUDA. To support parameters of another library,
append an object with the methods of :class:`Library` to :data:`libraries`.

A step runs on the current stream of the first parameter's library (Numba: its default stream)
and does not wait for the device. What does wait: ``state_dict``, ``load_state_dict`` of counters,
``opt.state[name]`` (its ``step``), an ``ema`` with bias correction, ``step_rows`` with indices on
the device, ``error_if_nonfinite``; and ``step_count``, with it a schedule, where only the device
knows how many steps there were: with ``skip_nonfinite``, and from the first step on that was
captured in a CUDA graph. While one is being captured, these are a ValueError.
"""

from __future__ import annotations

import sys
from typing import Any, Literal, Protocol

import numpy as np

from fusedstep import _cuda
from fusedstep._imported import imported

__all__ = ["CuPy", "Library", "Numba", "Torch", "libraries", "library_of"]


class Library(Protocol):
    """The methods that an array library needs."""

    def takes(self, array: object) -> bool:
        """Whether this library owns the array."""

    def zeros_like(self, array: Any, dtype: str | None = None) -> Any:
        """Zeros of the same shape, memory order and device.

        Of the same dtype, or of the one of this name in NumPy: float32, or what holds narrow
        state, uint16, uint8, int16 or int8.
        """

    def zeros(self, array: Any, size: int, dtype: str | None = None) -> Any:
        """A one-dimensional array of `size` zeros on the same device; `dtype` as above."""

    def scalar(self, array: Any, dtype: str) -> Any:
        """A 0-d array on the device of `array`, of dtype "bool" or "float64"."""

    def copy(self, to: Any, value: Any) -> None:
        """Copy one array of the library into another."""

    def stream(self, array: Any) -> int:
        """The current stream on the device of `array`, as a number; 0 is the default stream."""


class Torch:
    """Tensors of PyTorch."""

    def takes(self, array: object) -> bool:
        """See Library."""
        return isinstance(array, imported("torch", "Tensor"))

    def zeros_like(self, array: Any, dtype: str | None = None) -> Any:
        """See Library."""
        torch = sys.modules["torch"]
        kind = getattr(torch, dtype) if dtype else array.dtype
        return torch.zeros_like(array.detach(), dtype=kind, memory_format=torch.preserve_format)

    def zeros(self, array: Any, size: int, dtype: str | None = None) -> Any:
        """See Library."""
        torch = sys.modules["torch"]
        kind = getattr(torch, dtype) if dtype else array.dtype
        return torch.zeros(size, dtype=kind, device=array.device)

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
        return isinstance(array, imported("cupy", "ndarray"))

    def zeros_like(self, array: Any, dtype: str | None = None) -> Any:
        """See Library."""
        with array.device:
            return sys.modules["cupy"].zeros_like(array, dtype)

    def zeros(self, array: Any, size: int, dtype: str | None = None) -> Any:
        """See Library."""
        with array.device:
            return sys.modules["cupy"].zeros(size, dtype or array.dtype)

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

    def zeros_like(self, array: Any, dtype: str | None = None) -> Any:
        """See Library."""
        is_c = array.flags["C_CONTIGUOUS"]
        return self._zeros(array, array.shape, dtype, "C" if is_c else "F")

    def zeros(self, array: Any, size: int, dtype: str | None = None) -> Any:
        """See Library."""
        return self._zeros(array, size, dtype, "C")

    def _zeros(self, array: Any, shape: Any, dtype: str | None, order: Literal["C", "F"]) -> Any:
        host = np.zeros(shape, dtype or array.dtype, order)
        new = sys.modules["numba.cuda"].device_array(shape, host.dtype, order=order)
        _cuda.from_numpy(new, host, self.stream(array))
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


# Tried in this order. Append to the list to support another library.
libraries: list[Library] = [Torch(), CuPy(), Numba()]


def library_of(array: object, subject: str = "array") -> Library:
    """Return the library that owns an array, or raise TypeError."""
    for library in libraries:
        if library.takes(array):
            return library
    raise TypeError(
        f"{subject}: expected an array of torch, CuPy or Numba, whose library allocates the state "
        f"beside it, got {type(array).__name__}"
    )
