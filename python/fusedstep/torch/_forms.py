"""How a tensor of torch lies in memory, and the array that the core updates for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["DTYPES", "Form", "as_numpy", "as_tensor", "is_shard", "name_of", "widened"]

# What is not stored as it is computed, as tensors.
DTYPES = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "signed8": torch.uint8,
    "unsigned8": torch.uint8,
    "scales": torch.float32,
    "correction8": torch.int8,
    "correction16": torch.int16,
}


@dataclass(frozen=True, eq=False)
class Form:
    """The form of a parameter, and how tensors of its form are seen by the core.

    Most are plain: without gaps, their axes in any order (as channels_last). Else the core sees the
    local shard of a DTensor, a complex tensor as real and imaginary parts, and a dense copy of what
    has gaps in memory.
    """

    param: torch.Tensor
    array: torch.Tensor
    """What the core updates."""
    is_plain: bool = True
    has_gaps: bool = False
    """Whether `array` is a copy, to be written back."""
    address: int = 0
    """Where the parameter was."""

    @classmethod
    def of(cls, param: torch.Tensor) -> Form:
        """The form of a parameter."""
        local = _local(param)
        real = torch.view_as_real(local.detach()) if local.is_complex() else local
        if real is param and (_is_dense(param) or param.is_sparse):
            return cls(param, param)
        real = real.detach()
        has_gaps = not _is_dense(real)
        array = real.clone(memory_format=torch.contiguous_format) if has_gaps else real
        return cls(param, array, False, has_gaps, local.data_ptr())

    @property
    def is_where_it_was(self) -> bool:
        """Whether the parameter still has the memory of which `array` is a view."""
        return self.is_plain or _local(self.param).data_ptr() == self.address

    def gradient(self, grad: torch.Tensor) -> torch.Tensor:
        """A gradient of the parameter as the core reads it: a copy where it lies otherwise."""
        if self.is_plain and grad.stride() == self.array.stride() and not grad.is_neg():
            return grad
        if getattr(grad, "placements", None) != getattr(self.param, "placements", None):
            grad = grad.redistribute(placements=self.param.placements)  # type: ignore[attr-defined]
        grad = _local(grad).detach().resolve_conj().resolve_neg()
        if grad.is_complex():
            grad = torch.view_as_real(grad)
        array = self.array
        if grad.shape == array.shape and grad.stride() != array.stride():
            grad = torch.empty_like(array, dtype=grad.dtype).copy_(grad)
        return grad

    def refresh(self) -> None:
        """Read a parameter with gaps into its dense copy."""
        if self.has_gaps:
            self.array.copy_(self._real())

    def write_back(self) -> None:
        """Write the dense copy of a parameter with gaps to it."""
        if self.has_gaps:
            self._real().copy_(self.array)

    def _real(self) -> torch.Tensor:
        local = _local(self.param).detach()
        return torch.view_as_real(local) if local.is_complex() else local

    def state(self, array: NDArray[Any], layout: str) -> torch.Tensor:
        """An array beside the parameter as users see it: in the parameter's form, if it has one."""
        tensor = as_tensor(array, layout)
        if self.is_plain:
            return tensor
        if tuple(array.shape) != tuple(self.array.shape):  # one number per row, or per block
            return _like(tensor, self.param) if is_shard(self.param) else tensor
        if self.param.is_complex() and tensor.is_floating_point():
            tensor = torch.view_as_complex(tensor)
        return _like(tensor, self.param)

    def held(self, tensor: torch.Tensor) -> torch.Tensor:
        """The inverse of :meth:`state`, of any tensor that stands in the state."""
        local = _local(tensor).detach()
        if local.is_complex():
            local = torch.view_as_real(local.resolve_conj())
        return local


def as_tensor(array: NDArray[Any], layout: str) -> torch.Tensor:
    """A tensor in the memory of an array that is stored in this layout."""
    if array.dtype == np.uint16:  # the bits of what NumPy has no name for
        return torch.from_numpy(array.view(np.int16)).view(DTYPES[layout])
    return torch.from_numpy(array)


def as_numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """The inverse of :func:`as_tensor`."""
    array: NDArray[Any]
    if tensor.dtype in (torch.bfloat16, torch.float16):
        array = tensor.view(torch.int16).numpy().view(np.uint16)
    else:
        array = tensor.numpy()
    return array


def widened(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor | None:
    """The tensor in a dtype that holds all of its numbers; None where it may not."""
    if tensor.dtype == dtype:
        return tensor
    if tensor.dtype.itemsize > dtype.itemsize or not torch.can_cast(tensor.dtype, dtype):
        return None
    return tensor.to(dtype)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the tensor has no gaps in memory, whatever the order of its axes."""
    if tensor.is_contiguous():
        return True
    axes = sorted(range(tensor.ndim), key=tensor.stride, reverse=True)
    return tensor.permute(axes).is_contiguous()


def name_of(group: Mapping[str, Any], k: int, i: int) -> str:
    """The name for messages of parameter `i` of group `k`."""
    names = group.get("param_names")
    return str(names[i]) if names else f"param_groups[{k}]['params'][{i}]"


def is_shard(param: Any) -> bool:
    """Whether other processes have other parts of the parameter, which then is a DTensor."""
    placements = getattr(param, "placements", ())
    return any(
        not placement.is_replicate() and param.device_mesh.size(axis) > 1
        for axis, placement in enumerate(placements)
    )


def _local(tensor: torch.Tensor) -> torch.Tensor:
    """The local shard of a DTensor; other tensors are what they are."""
    local: torch.Tensor = getattr(tensor, "_local_tensor", tensor)
    wait = getattr(local, "wait", None)  # of what a collective has not delivered yet
    return local if wait is None else wait()


def _like(tensor: torch.Tensor, param: Any) -> torch.Tensor:
    """A DTensor of this shard, of the parameter's first axes, where the parameter is one."""
    if not hasattr(param, "_local_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor

    shape = param.shape[: tensor.ndim]
    stride = param.stride() if shape == param.shape else torch.empty(shape, device="meta").stride()
    made: torch.Tensor = DTensor.from_local(
        tensor, param.device_mesh, param.placements, run_check=False, shape=shape, stride=stride
    )
    return made
