"""What notebooks show of an optimizer for torch."""

from __future__ import annotations

from typing import Any

import torch

from fusedstep._repr import card
from fusedstep.torch._engine import plain

__all__ = ["card_of"]


def card_of(optimizer: Any) -> str:
    """As that of the optimizers for arrays; steps are those of the parameter that has had most."""
    groups, states = optimizer.param_groups, optimizer.state.values()
    rule = optimizer.rule
    return card(
        type(optimizer).__name__,
        max((int(own["step"]) for own in states if "step" in own), default=0),
        [[param.numel() for param in group["params"]] for group in groups],
        [{name: plain(group[name]) for name in rule.options} for group in groups],
        {name: option.default for name, option in rule.options.items()},
        parameter_bytes=sum(param.nbytes for group in groups for param in group["params"]),
        state_bytes=sum(
            value.nbytes for own in states for value in own.values() if torch.is_tensor(value)
        ),
    )
