"""The definition of a rule: its options, their checks, its state, and what the core reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from fusedstep import _core, _formats
from fusedstep._messages import listed, printable, shown
from fusedstep._options import Option
from fusedstep._pipeline import Policy
from fusedstep._slips import option_meant
from fusedstep._specs import GroupOptions

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """A rule, independent of any arrays.

    ``check_together`` raises ValueError where options that are valid by themselves do not go
    together. ``initial_state`` gives the start of the state arrays that do not start at 0.
    ``formed_with`` gives what of the options only loading may change: the parameters that come with
    a saved state were formed with its own.
    """

    name: str
    label: str  # its class, for messages
    options: Mapping[str, Option]
    info: _core.RuleInfo
    check_together: Callable[[Mapping[str, Any]], None]
    initial_state: Callable[[Mapping[str, Any]], Mapping[str, float]]
    formed_with: Callable[[Mapping[str, Any]], object]
    starts_at_parameter: tuple[str, ...]  # state arrays that start as a copy of the parameter

    @property
    def defaults(self) -> dict[str, Any]:
        """The options with their defaults."""
        return {name: option.default for name, option in self.options.items()}

    def refuse_unknown(self, given: Mapping[str, object], known: Mapping[str, Any]) -> None:
        """Raise TypeError where options are given that are not among the known."""
        if unknown := [name for name in given if name not in known]:
            raise TypeError(
                f"{self.label}: got {listed(unknown, partial(self.option_meant, known=known))}; "
                f"expected options among {', '.join(known)}"
            )

    def refuse_attribute(self, name: str, *, is_own: bool) -> None:
        """Raise AttributeError for a new attribute of an optimizer that no step would read.

        `is_own`: of the rule's class itself. Subclasses may have their own, but none like an option.
        """
        if name in self.options:
            why = f"set it by group: opt.groups[i][{name!r}] = ..."
        elif name in Policy.names():
            why = f"it is given at construction: {self.label}(..., {name}=...)"
        elif is_own:
            meant = self.option_meant(name, self.defaults)
            why = f"there is no option {meant}; there are {', '.join(self.options)}"
        else:
            return
        raise AttributeError(f"{self.label}.{printable(name)} cannot be set: {why}")

    def option_meant(self, name: object, known: Mapping[str, Any]) -> str:
        """An option that is not among the known, and what was probably meant."""
        if name in Policy.names():
            return f"{shown(name)} (of the whole optimizer: {self.label}(params, {name}=...))"
        return option_meant(name, self.name, known)

    def check(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Return the values of all options, or raise TypeError or ValueError.

        Options that are not given have their defaults.
        """
        return self.changed(self.defaults, {**self.defaults, **given})

    def changed(self, values: Mapping[str, Any], changes: Mapping[str, object]) -> dict[str, Any]:
        """Return checked values with these changes, or raise TypeError or ValueError."""
        self.refuse_unknown(changes, self.defaults)
        checked = {name: self.options[name].check(value) for name, value in changes.items()}
        new = {**values, **checked}
        self.check_together(new)
        _formats.check_together(new, self.label, self.info, self.variant(new))
        return new

    def variant(self, values: Mapping[str, Any]) -> int:
        """The compiled variant for these options: one bit per flag."""
        numbers = _scalars(values)
        return sum(bool(numbers[flag]) << i for i, flag in enumerate(self.info.flags))

    def states(self, values: Mapping[str, Any]) -> list[str]:
        """The names of the state arrays of each parameter under these options."""
        return self.info.states[self.variant(values)]

    def contents(self, values: Mapping[str, Any]) -> dict[str, str]:
        """What each of :meth:`states` holds."""
        return dict(zip(self.states(values), self.info.contents[self.variant(values)], strict=True))

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
            rounding=_formats.rounding_of(values),
            state_bits=_formats.state_bits(values),
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
