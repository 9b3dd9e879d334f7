"""A schedule that is told how the run goes."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from fusedstep._checks import as_integer, as_number, require_keys
from fusedstep._options import Schedule as AnySchedule
from fusedstep.schedules.base import NOT_NEGATIVE, Interval, Schedule, horizon_of

__all__ = ["Plateau"]

_WITHIN = Interval("a number in (0, 1)", lambda value: 0 < value < 1)


class _Progress(NamedTuple):
    best: float | None = None  # of the metrics so far
    num_bad: int = 0  # metrics since then, without those in a cooldown
    cooldown: int = 0  # metrics for which no more is counted
    reductions: int = 0


@dataclass(
    frozen=True, eq=False
)  # its state changes: equal parameters do not make two of them equal
class Plateau(Schedule):
    r"""Multiply the rate by `factor` when a metric no longer improves.

    The rate is :math:`\max(lr · factor^n, min\_lr)` after :math:`n` reductions. Tell the metric,
    such as the loss of a validation set, with :meth:`update`, once an epoch or however often it is
    measured; `patience` and `cooldown` count these calls, not steps.

    Parameters
    ----------
    lr : float or schedule
        The learning rate before any reduction, >= 0, or the schedule that is reduced.
    mode : {"min", "max"}, default "min"
        Whether a metric that falls is an improvement, or one that rises.
    factor : float, default 0.1
        The factor of each reduction, in (0, 1).
    patience : int, default 10
        How many metrics in a row may fail to improve; at the next one the rate is reduced.
    threshold : float, default 1e-4
        By how much a metric must be better than the best so far to count as an improvement, >= 0.
    threshold_mode : {"rel", "abs"}, default "rel"
        Whether `threshold` is a fraction of the best metric, or a difference.
    cooldown : int, default 0
        How many metrics after a reduction are not counted as failures.
    min_lr : float, default 0.0
        Reductions stop at this rate, >= 0.

    Notes
    -----
    Names, defaults and decisions are those of torch's ``ReduceLROnPlateau`` and Keras's, with these
    differences: "rel" is a fraction of the *size* of the best metric, so that it is right for
    negative ones, too; and torch leaves out reductions by less than its ``eps``. optax's
    ``reduce_on_plateau`` has both tolerances, ``rtol`` and ``atol``. NaN is no improvement.

    The state is not in the optimizer's ``state_dict``: save :meth:`state_dict` beside it.

    Examples
    --------
    >>> schedule = Plateau(1.0, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.5, 2.0):  # in use: opt = fs.Adam(params, lr=schedule)
    ...     if schedule.update(loss):
    ...         print("now", schedule(0))
    now 0.5
    """

    lr: float | AnySchedule
    mode: Literal["min", "max"] = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: int = 0
    min_lr: float = 0.0
    _progress: _Progress = field(default=_Progress(), init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lr", self._check_part("lr", self.lr))
        self._check_choice("mode", "min", "max")
        self._check_reals(_WITHIN, "factor")
        self._check_integer("patience", at_least=0)
        self._check_reals(NOT_NEGATIVE, "threshold", "min_lr")
        self._check_choice("threshold_mode", "rel", "abs")
        self._check_integer("cooldown", at_least=0)

    def update(self, metric: float) -> bool:
        """Take note of the newest metric, and return whether it reduced the rate.

        Parameters
        ----------
        metric : float
            A number, or an array of one number of any library.
        """
        value = as_number(
            self._where("metric"), metric, "a number", lambda _: True, finite=False, nan=True
        )
        best, num_bad, cooldown, reductions = self._progress
        if self._is_better(value, best):
            best, num_bad = value, 0
        else:
            num_bad += 1
        if cooldown > 0:
            cooldown, num_bad = cooldown - 1, 0
        reduced = num_bad > self.patience
        if reduced:
            num_bad, cooldown, reductions = 0, self.cooldown, reductions + 1
        object.__setattr__(self, "_progress", _Progress(best, num_bad, cooldown, reductions))
        return reduced

    def _is_better(self, metric: float, best: float | None) -> bool:
        sign = 1.0 if self.mode == "min" else -1.0
        if best is None:
            return sign * metric < math.inf
        margin = self.threshold * (abs(best) if self.threshold_mode == "rel" else 1.0)
        return sign * metric < sign * best - margin

    def state_dict(self) -> dict[str, Any]:
        """What has been noted so far: a dict of numbers, for :meth:`load_state_dict`."""
        return self._progress._asdict()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`; the parameters stay those of this schedule.

        Raises
        ------
        TypeError, ValueError
            The dict is not one of :meth:`state_dict`; nothing has changed then.
        """
        require_keys(state_dict, *_Progress._fields, name=self._where("state_dict"))
        best = state_dict["best"]
        if best is not None:
            where = self._where("state_dict['best']")
            best = as_number(where, best, "a number", lambda _: True, finite=False)
        counts = (
            as_integer(self._where(f"state_dict[{name!r}]"), state_dict[name], 0)
            for name in _Progress._fields[1:]
        )
        object.__setattr__(self, "_progress", _Progress(best, *counts))

    def _horizon(self) -> int:
        return horizon_of(self.lr)

    def _rate(self, step: int) -> float:
        rate = self._rate_of("lr", self.lr, step)
        return min(rate, max(rate * self.factor**self._progress.reductions, self.min_lr))
