"""Schedules made of schedules."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from fusedstep._options import Schedule as AnySchedule
from fusedstep.schedules.base import NOT_NEGATIVE, Schedule, horizon_of

__all__ = ["Join", "Warmup"]


@dataclass(frozen=True)
class Join(Schedule):
    """Schedules one after another, each counting its steps from where it begins.

    Parameters
    ----------
    schedules : list of schedules or floats
        At least one: callables from a number of steps to a rate, of any library, or constant rates.
    boundaries : list of int
        The step at which each schedule but the first begins: one fewer than `schedules`,
        increasing and >= 1.

    Notes
    -----
    optax's ``join_schedules``, and torch's ``SequentialLR`` (``schedulers``, ``milestones``). With
    constant rates Keras's ``PiecewiseConstantDecay``, whose boundaries are the last steps of each
    rate, not the first of the next.

    Examples
    --------
    >>> schedule = Join([0.5, Linear(0.5, total_steps=10)], boundaries=[100])
    >>> [schedule(step) for step in (0, 99, 100, 105, 110)]
    [0.5, 0.5, 0.5, 0.25, 0.0]
    """

    schedules: Sequence[float | AnySchedule]
    boundaries: Sequence[int]

    def __post_init__(self) -> None:
        given = enumerate(self._list_of("schedules", "schedules or rates"))
        parts = tuple(self._check_part(f"schedules[{i}]", part) for i, part in given)
        object.__setattr__(self, "schedules", parts)
        self._check_increasing("boundaries")
        if not parts:
            raise ValueError(f"{self._where('schedules')}: expected at least one, got none")
        if len(self.boundaries) != len(parts) - 1:
            raise ValueError(
                f"{self._where('boundaries')}: expected {len(parts) - 1}, one between each two "
                f"schedules, got {len(self.boundaries)}"
            )

    def _horizon(self) -> int:
        return max([0, *self.boundaries]) + horizon_of(self.schedules[-1])

    def _rate(self, step: int) -> float:
        i = bisect_right(self.boundaries, step)
        start = self.boundaries[i - 1] if i else 0
        return self._rate_of(f"schedules[{i}]", self.schedules[i], step - start)


@dataclass(frozen=True)
class Warmup(Schedule):
    r"""A linear warm-up before any schedule, which counts its steps from the end of the warm-up.

    .. math::

        initial + (first - initial) · \frac{step}{warmup}
        \quad\text{then}\quad schedule(step - warmup)

    where :math:`first` is ``schedule(0)``.

    Parameters
    ----------
    schedule : schedule or float
        A callable from a number of steps to a rate, of any library, or a constant rate.
    warmup_steps : int
        Length of the warm-up, >= 1.
    initial_lr : float, default 0.0
        The rate of the first step, >= 0.

    Notes
    -----
    :class:`Cosine`, :class:`Linear`, :class:`Polynomial` and :class:`WarmupStableDecay` have a
    warm-up of their own, which `total_steps` counts. In optax, join a ``linear_schedule`` and the
    other one.

    Examples
    --------
    >>> schedule = Warmup(MultiStep(1.0, milestones=[100]), warmup_steps=10)
    >>> [schedule(step) for step in (0, 5, 10, 109, 110)]
    [0.0, 0.5, 1.0, 1.0, 0.1]
    """

    schedule: float | AnySchedule
    warmup_steps: int
    initial_lr: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "schedule", self._check_part("schedule", self.schedule))
        self._check_integer("warmup_steps", at_least=1)
        self._check_reals(NOT_NEGATIVE, "initial_lr")

    def _horizon(self) -> int:
        return self.warmup_steps + horizon_of(self.schedule)

    def _rate(self, step: int) -> float:
        if step >= self.warmup_steps:
            return self._rate_of("schedule", self.schedule, step - self.warmup_steps)
        first = self._rate_of("schedule", self.schedule, 0)
        return self.initial_lr + (first - self.initial_lr) * (step / self.warmup_steps)
