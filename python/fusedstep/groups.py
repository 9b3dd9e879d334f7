"""Parameter groups: options that some parameters share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fusedstep import _core
from fusedstep.options import Number, core_options, variant_of

if TYPE_CHECKING:
    from fusedstep.optimizer import Optimizer

__all__ = ["Group", "replace"]


class Group(Mapping[str, Any]):
    """The options that some parameters share: a mapping whose values may be set.

    A value is checked when it is set and holds from the next step on. Options that decide which
    state there is (``amsgrad``, ``momentum`` zero or not) are fixed at construction.
    """

    # No reference to the optimizer: a cycle would keep gigabytes of state until the collector runs.
    def __init__(
        self,
        rule: type[Optimizer],
        core: _core.Stepper,
        names: list[str],
        given: Mapping[str, object],
        number: int,
    ) -> None:
        self._rule = rule
        self._core = core
        self._names = tuple(names)
        self._values = rule.check_options(given)
        self._variant = variant_of(rule.info, self._values)
        self._number = number

    @property
    def params(self) -> tuple[str, ...]:
        """The names of the group's parameters."""
        return self._names

    @property
    def state_names(self) -> list[str]:
        """The names of the buffers that each parameter has."""
        return self._rule.info.states[self._variant]

    @property
    def lr(self) -> float:
        """The learning rate of the next step, which a schedule may have set."""
        return self.lr_at(self._core.step_count)

    def lr_at(self, step: int) -> float:
        """Return the learning rate after `step` steps, or raise TypeError or ValueError."""
        return _rate(self._values["lr"], step)

    @property
    def has_schedule(self) -> bool:
        """Whether ``lr`` is a schedule."""
        return callable(self._values["lr"])

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

    def check(self, changes: Mapping[str, object]) -> dict[str, Any]:
        """Return all values with these changes, or raise TypeError or ValueError."""
        values = self._rule.check_options({**self._values, **changes})
        old, new = self._variant, variant_of(self._rule.info, values)
        if self._rule.info.states[old] != self._rule.info.states[new]:
            flags = enumerate(self._rule.info.flags)
            flag = next(flag for i, flag in flags if (old ^ new) >> i & 1)
            how = "" if isinstance(values[flag], bool) else f" {'from' if values[flag] else 'to'} 0"
            raise ValueError(
                f"{flag} cannot be changed{how} after construction: it decides which state there is"
            )
        if self._rule.initial_state(values) != self._rule.initial_state(self._values):
            name = next(n for n in changes if values[n] != self._values[n])
            raise ValueError(
                f"{name}: expected {self._values[name]!r} as at construction, since the state "
                f"started from it, got {values[name]!r}"
            )
        return values

    def update(self, changes: Mapping[str, object]) -> None:
        """Set several options, all or none."""
        values = self.check(changes)
        replace([self], [values], lambda new: self._core.set_group(self._number, *new))

    def take(self, values: dict[str, Any]) -> None:
        """Have these values, which the compiled core has been told."""
        self._values, self._variant = values, variant_of(self._rule.info, values)

    def push(self) -> None:
        """Tell the compiled core the values of the next step."""
        self._core.set_group(self._number, self.settings())

    def settings(
        self, values: Mapping[str, Any] | None = None, step: int | None = None
    ) -> _core.GroupOptions:
        """These values as the compiled core takes them, after `step` steps: as they are now."""
        values = self._values if values is None else values
        step = self._core.step_count if step is None else step
        return core_options(self._rule.info, values, _rate(values["lr"], step))


def _rate(lr: Any, step: int) -> float:
    if not callable(lr):
        return float(lr)
    return Number().check(f"lr (of the schedule, at step {step})", lr(step))


def replace(
    groups: Sequence[Group],
    values: Sequence[dict[str, Any]],
    tell: Callable[[list[_core.GroupOptions]], None],
    step: int | None = None,
) -> None:
    """Give groups other values, as after `step` steps: all or none, as the compiled core is told."""
    pairs = [*zip(groups, values, strict=True)]
    settings = [group.settings(own, step) for group, own in pairs]
    interrupt = None
    try:
        tell(settings)
    except KeyboardInterrupt as error:  # one that came meanwhile, raised when it is done
        interrupt = error
    for group, own in pairs:
        group.take(own)
    if interrupt is not None:
        raise interrupt
