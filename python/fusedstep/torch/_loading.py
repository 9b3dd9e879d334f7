"""State dicts, between torch's optimizers and ours."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import torch

__all__ = ["COMPUTED", "as_torch_has_it", "derived", "keep_dtypes", "steps_made", "unwrap"]


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
            for name in COMPUTED:
                own.pop(name, None)
            for name, value in own.items():
                if isinstance(value, _Kept):
                    own[name] = value.tensor.detach().clone()


def as_torch_has_it(optimizer: Any, state_dict: dict[str, Any]) -> dict[str, Any]:
    """Add what torch's optimizer of the same name keeps in its state and ours computes."""
    rule = optimizer.rule.rule
    if rule in _DERIVED:
        groups = {i: group for group in state_dict["param_groups"] for i in group["params"]}
        state_dict["state"] = {
            key: {**own, **derived(rule, own, groups[key])}
            if key in groups and "step" in own
            else own
            for key, own in state_dict["state"].items()
        }
    return state_dict


def derived(rule: str, own: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    """What torch's optimizer of this rule keeps for a parameter, from its state and group here."""
    return _DERIVED[rule](own, group) if rule in _DERIVED else {}


def steps_made(rule: str, steps: float, states: Container[str], has: Container[str]) -> float:
    """The steps of a parameter for which torch has counted `steps`.

    `states` are the arrays that it has here, `has` those that it has in torch.
    """
    if rule == "sgd" and "momentum_buffer" in states:
        if "momentum_buffer" not in has:
            return 0  # torch starts the buffer at the first gradient that it meets
        return steps or 1  # torch does not count
    return steps


def _sgd(own: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:  # noqa: ARG001
    return {"momentum_buffer": None} if "momentum_buffer" in own and own["step"] == 0 else {}


def _nadam(own: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    product = _mu_product(
        int(own["step"]), float(group["betas"][0]), float(group["momentum_decay"])
    )
    return {"mu_product": torch.tensor(product)}


@lru_cache  # parameters have mostly made as many steps
def _mu_product(steps: int, beta1: float, decay: float) -> float:
    product = 1.0
    for t in range(1, steps + 1):
        product *= beta1 * (1.0 - 0.5 * 0.96 ** (t * decay))
    return product


def _asgd(own: Mapping[str, Any], group: Mapping[str, Any]) -> dict[str, Any]:
    step, lr = float(own["step"]), float(group["lr"])
    eta = lr / (1.0 + group["lambd"] * lr * step) ** group["alpha"]
    return {"eta": torch.tensor(eta), "mu": torch.tensor(1.0 / max(1.0, step - group["t0"]))}


_DERIVED = {"sgd": _sgd, "nadam": _nadam, "asgd": _asgd}
COMPUTED = ("mu_product", "eta", "mu")
