"""State dicts, between torch's optimizers and ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["as_torch_has_it", "keep_dtypes", "unwrap"]


class _Kept:
    """A tensor on its way through torch's load_state_dict, which would cast it."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


def _wrapped(state: dict[Any, Any]) -> dict[Any, Any]:
    return {
        key: {n: _Kept(v) if isinstance(v, torch.Tensor) else v for n, v in own.items()}
        if isinstance(own, dict)
        else own
        for key, own in state.items()
    }


@contextmanager
def keep_dtypes(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Let ``load_state_dict`` copy tensors, and not cast them to the dtype of their parameters."""

    def wrap(_: Any, state_dict: dict[str, Any]) -> dict[str, Any]:  # after the user's own hooks
        return {**state_dict, "state": _wrapped(state_dict["state"])}

    handle = optimizer.register_load_state_dict_pre_hook(wrap)
    try:
        yield
    finally:
        handle.remove()


def unwrap(optimizer: Any) -> None:
    """Replace what :func:`keep_dtypes` has wrapped by copies, and drop what is computed here."""
    for own in optimizer.state.values():
        if isinstance(own, dict):
            for name in _COMPUTED:
                own.pop(name, None)
            for name, value in own.items():
                if isinstance(value, _Kept):
                    own[name] = value.tensor.detach().clone()


def as_torch_has_it(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Add what torch's optimizer of the same name keeps in its state and ours computes."""
    add = _DERIVED.get(optimizer.rule.rule)
    if add is not None:
        groups = {i: group for group in state_dict["param_groups"] for i in group["params"]}
        state_dict["state"] = {
            key: {**own, **add(own, groups[key])} if key in groups and "step" in own else own
            for key, own in state_dict["state"].items()
        }
    return state_dict


def _nadam(own: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    product = 1.0
    for t in range(1, int(own["step"]) + 1):
        product *= group["betas"][0] * (1.0 - 0.5 * 0.96 ** (t * group["momentum_decay"]))
    return {"mu_product": torch.tensor(product)}


def _asgd(own: dict[str, Any], group: dict[str, Any]) -> dict[str, Any]:
    step, lr = float(own["step"]), float(group["lr"])
    eta = lr / (1.0 + group["lambd"] * lr * step) ** group["alpha"]
    return {"eta": torch.tensor(eta), "mu": torch.tensor(1.0 / max(1.0, step - group["t0"]))}


_DERIVED = {"nadam": _nadam, "asgd": _asgd}
_COMPUTED = ("mu_product", "eta", "mu")
