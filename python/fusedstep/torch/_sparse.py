"""Sparse gradients: steps over rows."""

from __future__ import annotations

from typing import Any

__all__ = ["tables_of"]

# Rules for which rows without gradient do not change in torch either.
_BY_ROWS = ("sgd", "adagrad")


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
        if (
            grad.sparse_dim() != 1
            or group.get("momentum")
            or grad.is_complex()
            or not engine.forms[i].is_plain
        ):
            if optimizer.is_sparse:
                raise RuntimeError("expected sparse gradients of rows: sparse_dim() == 1")
            grads[i] = grad.to_dense()
            continue
        grad = grad.coalesce()
        tables[i] = grad.indices()[0], grad.values().contiguous()
    return tables
