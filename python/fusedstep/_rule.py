"""The definition of a rule: its options, their checks, its state, and what the core reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fusedstep import _core
from fusedstep._options import Option
from fusedstep._specs import GroupOptions

__all__ = ["Rule", "refuse_unknown"]


@dataclass(frozen=True)
class Rule:
    """A rule, independent of any arrays.

    ``check_together`` raises ValueError where options that are valid by themselves do not go
    together. ``initial_state`` gives the start of the state arrays that do not start at 0.
    """

    name: str
    label: str  # its class, for messages
    options: Mapping[str, Option]
    info: _core.RuleInfo
    check_together: Callable[[Mapping[str, Any]], None]
    initial_state: Callable[[Mapping[str, Any]], Mapping[str, float]]
    starts_at_parameter: tuple[str, ...]  # state arrays that start as a copy of the parameter

    def check(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return the values of all options, or raise TypeError or ValueError.

        Options that are not given have their defaults.
        """
        refuse_unknown(self.label, given, [*self.options])
        values = {
            name: option.check(given.get(name, option.default))
            for name, option in self.options.items()
        }
        self.check_together(values)
        return values

    def variant(self, values: Mapping[str, Any]) -> int:
        """The compiled variant for these options: one bit per flag."""
        numbers = _scalars(values)
        return sum(bool(numbers[flag]) << i for i, flag in enumerate(self.info.flags))

    def states(self, values: Mapping[str, Any]) -> list[str]:
        """The names of the state arrays of each parameter under these options."""
        return self.info.states[self.variant(values)]

    def group_options(self, values: Mapping[str, Any], lr: float) -> GroupOptions:
        """The options for the compiled core, at a learning rate."""
        numbers = _scalars(values) | {"lr": lr}
        # Unless an option says otherwise, a rule that reads the decay does not have it coupled.
        own = "weight_decay" in self.info.scalars and values.get("decoupled_weight_decay", True)
        return GroupOptions(
            scalars=[numbers[name] for name in self.info.scalars],
            variant=self.variant(values),
            coupled_weight_decay=0.0 if own else numbers["weight_decay"],
            maximize=values["maximize"],
            max_grad_norm=values["max_grad_norm"],
            max_grad_value=values["max_grad_value"],
        )


def refuse_unknown(label: str, given: Mapping[str, object], known: list[str]) -> None:
    """Raise TypeError where options are given that are not among the known."""
    if unknown := [name for name in given if name not in known]:
        raise TypeError(
            f"{label}: expected options among {', '.join(known)}, "
            f"got {', '.join(map(repr, unknown))}"
        )


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options by the names of their scalars: ``betas`` becomes ``beta1``, ``beta2``, ..."""
    numbers: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, tuple):
            numbers |= {f"{name.removesuffix('s')}{i}": v for i, v in enumerate(value, 1)}
        else:
            numbers[name] = value
    return numbers
