"""Parameter groups: options that some parameters share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fusedstep import _core
from fusedstep._formats import STORAGE_OPTIONS
from fusedstep._messages import listed, shown
from fusedstep._options import check_rate, rate_at
from fusedstep._rule import Rule
from fusedstep._specs import Assignment, GroupOptions
from fusedstep.schedules.base import Schedule

__all__ = ["Group", "core_options", "follow_schedules", "replace", "set_lr", "set_rates"]


class Group(Mapping[str, Any]):
    """The options that some parameters share: a mapping whose values may be set.

    A value is checked when it is set and applies from the next step on. Options that decide which
    state there is (``amsgrad``, ``momentum`` zero or not) are fixed at construction.
    """

    # No reference to the optimizer: a reference cycle would keep gigabytes of state alive until
    # the garbage collector runs.
    def __init__(
        self,
        rule: Rule,
        core: _core.Stepper,
        names: Sequence[str],
        given: Mapping[str, object],
        number: int,
    ) -> None:
        self._rule = rule
        self._core = core
        self._names = tuple(names)
        self._number = number
        values = rule.check(given)
        self._values = values
        # Which the core has: that of the latest step, or of the next.
        self._rate = rate_at(values["lr"], core.step_count)
        self.has_schedule: bool = callable(values["lr"])

    @property
    def params(self) -> tuple[str, ...]:
        """The names of the group's parameters."""
        return self._names

    @property
    def state_names(self) -> list[str]:
        """The names of the state arrays that each parameter has."""
        return self._rule.states(self._values)

    @property
    def contents(self) -> dict[str, str]:
        """What each of the state arrays holds."""
        return self._rule.contents(self._values)

    @property
    def lr(self) -> float:
        """The learning rate of the next step, from the schedule if there is one.

        That of the latest step where a schedule raises an error, as after its end.
        """
        return self.lr_at(self._core.step_count)

    def lr_at(self, step: int) -> float:
        """The learning rate after `step` steps, as :attr:`lr`, or raise TypeError or ValueError."""
        lr = self._values["lr"]
        try:
            rate = lr(step) if callable(lr) else lr
        except Exception:  # noqa: BLE001 - the schedule's own, which a step raises
            return self._rate
        return check_rate(rate, step)

    def saved_at(self, step: int) -> dict[str, Any]:
        """The options to save after `step` steps, ``lr`` as a number: whatever a schedule gives."""
        try:
            return {**self, "lr": self.lr_at(step)}
        except (TypeError, ValueError):
            return {**self, "lr": self._rate}

    def __getitem__(self, name: str) -> Any:
        return self._values[name]

    def __setitem__(self, name: str, value: object) -> None:
        self.update({name: value})

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._values.items())
        return f"Group({len(self._names)} parameters, {options})"

    def _repr_html_(self) -> str:
        from fusedstep._html import card  # which most programs never need

        facts = [f"{len(self._names):,} parameters: {listed(self._names)}"]
        rows = {name: [value] for name, value in self._shown().items()}
        return card("Group", facts, rows=rows, drawing=self._drawing())

    def _shown(self) -> dict[str, Any]:
        """The options, with the rate of the latest step where it comes from a schedule."""
        lr = self._values["lr"]
        rate = f"{self._rate:.3g} ({type(lr).__name__})" if callable(lr) else lr
        return {**self._values, "lr": rate}

    def _drawing(self) -> str:
        """A plot of the schedule; empty where there is none, or it is a function of the user's."""
        lr = self._values["lr"]
        return lr._drawing(self._core.step_count) if isinstance(lr, Schedule) else ""

    def check(self, changes: Mapping[str, object]) -> dict[str, Any]:
        """Return all values with these changes, or raise TypeError or ValueError."""
        values = self._rule.changed(self._values, changes)
        for name in STORAGE_OPTIONS:
            if values[name] != self._values[name]:
                raise ValueError(
                    f"{name}: expected {shown(self._values[name])} as at construction, since it "
                    f"decides how arrays are stored, got {shown(values[name])}"
                )
        if self._rule.states(self._values) != self._rule.states(values):
            changed = self._rule.variant(self._values) ^ self._rule.variant(values)
            flag = next(f for i, f in enumerate(self._rule.info.flags) if changed >> i & 1)
            how = "" if isinstance(values[flag], bool) else f" {'from' if values[flag] else 'to'} 0"
            raise ValueError(
                f"{flag} cannot be changed{how} after construction: it decides which state there is"
            )
        if self._rule.initial_state(values) != self._rule.initial_state(self._values):
            name = next(n for n in changes if values[n] != self._values[n])
            raise ValueError(
                f"{name}: expected {shown(self._values[name])} as at construction, since the state "
                f"started from it, got {shown(values[name])}"
            )
        return values

    def update(self, changes: Mapping[str, object]) -> None:
        """Set several options, all or none."""
        if [*changes] == ["lr"] and set_lr([self], changes["lr"]):
            return
        values = self.check_update(changes)
        replace([self], [values], lambda new, own: self._core.set_group(self._number, new[0], own))

    def check_update(self, changes: Mapping[str, object]) -> dict[str, Any]:
        """As :meth:`check`, of changes that come without saved parameters."""
        values = self.check(changes)
        formed = self._rule.formed_with(self._values)
        for name in changes:
            if self._rule.formed_with({**self._values, name: values[name]}) != formed:
                raise ValueError(
                    f"{name}: expected {shown(formed)} first as so far, with which the parameters "
                    f"were formed, got {shown(values[name])}"
                )
        return values


def core_options(group: Group) -> GroupOptions:
    """The group's options, as the compiled core takes them."""
    return group._rule.group_options(group._values, group._rate)


def follow_schedules(groups: Sequence[Group]) -> None:
    """Set the learning rates of the next step where they come from a schedule: all, or none.

    Raises what a schedule raises, and TypeError or ValueError for a rate that is none.
    """
    scheduled = [group for group in groups if group.has_schedule]
    core = scheduled[0]._core
    step = core.step_count
    rates: list[float] = []
    latest = None
    for group in scheduled:  # which mostly share a schedule
        if group._values["lr"] is not latest:
            latest = group._values["lr"]
            rate = rate_at(latest, step)
        rates.append(rate)
    core.set_rates([group._number for group in scheduled], rates)
    for group, rate in zip(scheduled, rates, strict=True):
        group._rate = rate


def set_lr(groups: Sequence[Group], lr: object) -> bool:
    """Set the learning rate of groups in a fraction of the time of :func:`replace`; all, or none.

    False, and nothing is changed, where it is a schedule, or the state has started from it.
    """
    rule = groups[0]._rule
    if callable(lr) or "lr" not in rule.info.scalars:
        return False
    rate = rule.options["lr"].check(lr)
    for group in groups:
        rule.check_together({**group._values, "lr": rate})
    set_rates(groups, [rate] * len(groups))
    return True


def set_rates(groups: Sequence[Group], rates: Sequence[float]) -> None:
    """Give each group a learning rate that was checked; all, or none where the core refuses one."""
    groups[0]._core.set_rates(
        [group._number for group in groups],
        rates,
        [
            assignment
            for group, rate in zip(groups, rates, strict=True)
            for assignment in (
                (group, "_values", {**group._values, "lr": rate}),
                (group, "_rate", rate),
                (group, "has_schedule", False),
            )
        ],
    )


def replace(
    groups: Sequence[Group],
    values: Sequence[dict[str, Any]],
    apply: Callable[[list[GroupOptions], list[Assignment]], None],
    step: int | None = None,
) -> None:
    """Give groups other values (of `step`, the next by default): all, or none where `apply` raises.

    `apply` hands the values to the compiled core, which sets the attributes of the groups as well.
    """
    pairs = [*zip(groups, values, strict=True)]
    rates = [_rate(group, new, step) for group, new in pairs]
    options = [
        group._rule.group_options(new, rate)
        for (group, new), rate in zip(pairs, rates, strict=True)
    ]
    apply(
        options,
        [
            assignment
            for (group, new), rate in zip(pairs, rates, strict=True)
            for assignment in (
                (group, "_values", new),
                (group, "_rate", rate),
                (group, "has_schedule", callable(new["lr"])),
            )
        ],
    )


def _rate(group: Group, values: Mapping[str, Any], step: int | None) -> float:
    """The learning rate of `values`; only a schedule that is new must have one."""
    lr = values["lr"]
    if lr is not group._values["lr"] or not callable(lr):
        return rate_at(lr, group._core.step_count if step is None else step)
    return group._rate if step is None else group.lr_at(step)
