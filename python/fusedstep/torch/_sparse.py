"""Sparse gradients: steps over rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray

from fusedstep._errors import ArrayChangedError
from fusedstep.torch._engine import Engine
from fusedstep.torch._forms import Form, as_tensor

__all__ = ["RowEngine", "tables_of"]

# Rules for which rows without gradient do not change in torch either.
_BY_ROWS = ("sgd", "adagrad")


@dataclass(frozen=True, eq=False)
class RowForm(Form):
    """The form of a parameter of which sparse gradients name the first axes: one place, one row."""

    axes: int = 1
    """How many axes are named."""

    @classmethod
    def of(cls, param: torch.Tensor) -> RowForm:
        """The form of a parameter, for the gradient that it has."""
        grad = param.grad
        axes = grad.sparse_dim() if grad is not None and grad.is_sparse else 1
        is_contiguous, shape = param.is_contiguous(), param.shape
        if axes == 1 and is_contiguous:
            return cls(param, param)
        dense = param.detach().contiguous()
        rows = dense.view(math.prod(shape[:axes]), *shape[axes:])
        return cls(param, rows, False, not is_contiguous, param.data_ptr(), axes)

    def refresh(self) -> None:
        """See :class:`Form`."""
        if self.has_gaps:
            self.array.view(self.param.shape).copy_(self.param.detach())

    def write_back(self) -> None:
        """See :class:`Form`."""
        if self.has_gaps:
            self.param.detach().copy_(self.array.view(self.param.shape))

    def state(self, array: NDArray[Any], layout: str) -> torch.Tensor:
        """See :class:`Form`."""
        tensor = as_tensor(array, layout)
        return tensor.view(self.param.shape) if tensor.shape == self.array.shape else tensor

    def held(self, tensor: torch.Tensor) -> torch.Tensor:
        """See :class:`Form`."""
        tensor = tensor.detach()
        return tensor.reshape(self.array.shape) if tensor.shape == self.param.shape else tensor


class RowEngine(Engine):
    """An engine of which all gradients are sparse."""

    form_class = RowForm


def tables_of(optimizer: Any, engine: Any, grads: list[Any]) -> dict[int, tuple[Any, Any]]:
    """The indices and gradients of rows of the parameters whose gradient is sparse.

    Where every row changes all the same, the gradient in `grads` is replaced by a dense one.
    """
    tables = {}
    rule = optimizer.rule.rule
    group_of = engine.inner._engine.tree.group_of
    for i, grad in enumerate(grads):
        if grad is not None and optimizer.is_sparse and not grad.is_sparse:
            raise RuntimeError(
                f"{type(optimizer).__name__} does not support dense gradients: use Adam instead"
            )
        if grad is None or not grad.is_sparse:
            continue
        if rule not in _BY_ROWS and not optimizer.is_sparse:
            raise RuntimeError(
                f"{type(optimizer).__name__} does not support sparse gradients: use SGD, Adagrad or "
                "SparseAdam of fusedstep.torch, or a dense gradient"
            )
        group = engine.groups[group_of[i]].source
        if group.get("weight_decay"):
            raise RuntimeError("weight_decay: expected 0 with sparse gradients, as in torch")
        if optimizer.is_sparse:
            if grad.sparse_dim() != engine.forms[i].axes:
                raise ArrayChangedError  # the engine is made anew, with other rows
        elif (
            grad.sparse_dim() != 1
            or group.get("momentum")
            or grad.is_complex()
            or not engine.forms[i].is_plain
        ):
            grads[i] = grad.to_dense()
            continue
        grad = grad.coalesce()
        tables[i] = _rows(grad), grad.values().contiguous()
    return tables


def _rows(grad: torch.Tensor) -> torch.Tensor:
    """The rows that a coalesced gradient names."""
    indices = grad.indices()
    if len(indices) == 1:
        return indices[0]
    rows = indices.new_zeros(indices.shape[1])
    for own, size in zip(indices, grad.shape, strict=False):  # of the sparse axes
        rows = rows * size + own
    return rows
