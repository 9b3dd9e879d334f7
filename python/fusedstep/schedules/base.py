"""What all schedules share: checks of their parameters, of the step, and of the rate."""

import itertools
import math
from abc import ABCMeta, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from fusedstep._checks import as_integer, as_number
from fusedstep._messages import shown
from fusedstep._options import Number, Rate
from fusedstep._options import Schedule as AnySchedule

__all__ = [
    "FACTOR",
    "FRACTION",
    "NOT_NEGATIVE",
    "Interval",
    "Schedule",
    "cosine_between",
    "horizon_of",
]


class Interval(NamedTuple):
    """The numbers that a parameter may have, in words and as a check."""

    expected: str
    contains: Callable[[float], bool]


NOT_NEGATIVE = Interval("a finite number >= 0", lambda value: value >= 0)
FACTOR = Interval("a finite number > 0", lambda value: value > 0)
FRACTION = Interval("a number in [0, 1)", lambda value: 0 <= value < 1)


_HORIZON = 1000


def horizon_of(part: object) -> int:
    """Over how many steps to draw a schedule, or a rate or function in place of one."""
    return part._horizon() if isinstance(part, Schedule) else _HORIZON


class _Listed(ABCMeta):
    """Lists of a class what its user calls: help() would show all that a dataclass adds."""

    def __dir__(cls) -> list[str]:
        names = (name for name in super().__dir__() if not name.startswith("_"))
        return ["__call__", *(name for name in names if callable(getattr(cls, name)))]


class Schedule(metaclass=_Listed):
    """Base class of all schedules."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` completed ones."""
        completed = as_integer(self._where("step"), step, 0)
        try:
            rate = self._rate(completed)
        except OverflowError:  # Python's pow raises where its product returns inf
            rate = math.inf
        if not math.isfinite(rate):
            raise OverflowError(f"{self}: step: the rate exceeds a double at step {completed}")
        return rate

    @abstractmethod
    def _rate(self, step: int) -> float: ...

    def _horizon(self) -> int:
        """Over how many steps a plot shows what it does, where it has no length of its own."""
        return _HORIZON

    def _repr_html_(self) -> str:
        from fusedstep._html import card, plot  # which most programs never need

        return card(repr(self), drawing=plot(self, self._horizon()))

    def _drawing(self, now: int) -> str:
        """A plot for a notebook that shows an optimizer at the step `now`."""
        from fusedstep._html import plot

        return plot(self, max(self._horizon(), now), now, repr(self))

    def _where(self, name: str) -> str:
        return f"{type(self).__name__}: {name}"

    # The fields are converted to Python numbers: a NumPy scalar would determine the precision of
    # the arithmetic and the type of the rate.
    def _check_reals(self, allowed: Interval, *names: str) -> None:
        for name in names:
            where = self._where(name)
            value = as_number(where, getattr(self, name), allowed.expected, allowed.contains)
            object.__setattr__(self, name, value)

    def _check_integer(self, name: str, *, at_least: int) -> None:
        value = as_integer(self._where(name), getattr(self, name), at_least)
        object.__setattr__(self, name, value)

    def _check_choice(self, name: str, *choices: str) -> None:
        value = getattr(self, name)
        if value not in choices:
            expected = " or ".join(map(repr, choices))
            raise ValueError(f"{self._where(name)}: expected {expected}, got {shown(value)}")

    def _check_final_lr(self, lr: float, final_lr: float) -> None:
        if final_lr > lr:
            raise ValueError(
                f"{self._where('final_lr')}: expected a rate <= lr = {lr} (not a fraction of it), "
                f"got {final_lr}"
            )

    def _list_of(self, name: str, items: str) -> list[object]:
        value = getattr(self, name)
        if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
            raise TypeError(f"{self._where(name)}: expected a list of {items}, got {shown(value)}")
        return list(value)

    def _check_increasing(self, name: str) -> None:
        """The field is a list of increasing step numbers, of which a tuple is kept."""
        given = enumerate(self._list_of(name, "integers"))
        steps = tuple(as_integer(self._where(f"{name}[{i}]"), step, 1) for i, step in given)
        for before, after in itertools.pairwise(steps):
            if before >= after:
                raise ValueError(
                    f"{self._where(name)}: expected increasing integers, got {before} before {after}"
                )
        object.__setattr__(self, name, steps)

    def _check_part(self, name: str, value: object) -> float | AnySchedule:
        """A rate or a schedule of which this one is made."""
        return Rate().check(self._where(name), value)

    def _rate_of(self, name: str, part: float | AnySchedule, step: int) -> float:
        if not callable(part):
            return part
        return Number().check(self._where(f"{name}, at its step {step}"), part(step))


def cosine_between(start: float, end: float, fraction: float) -> float:
    """Half a cosine from `start` to `end`, which it is exactly at fraction 1."""
    # torch's order of operations, so that OneCycle has torch's bits.
    return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1.0)
