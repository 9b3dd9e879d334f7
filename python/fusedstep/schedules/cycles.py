"""Schedules that rise and fall."""

import math
from dataclasses import dataclass

from fusedstep.schedules.base import (
    FACTOR,
    FRACTION,
    NOT_NEGATIVE,
    Interval,
    Schedule,
    cosine_between,
)

__all__ = ["CosineRestarts", "OneCycle"]

_AT_LEAST_1 = Interval("a finite number >= 1", lambda value: value >= 1)


@dataclass(frozen=True)
class OneCycle(Schedule):
    r"""Half a cosine up from ``max_lr / div_factor`` to `max_lr`, then half a cosine down.

    The last rate, ``max_lr / div_factor / final_div_factor``, is that of step ``total_steps - 1``,
    the last of the run; later steps keep it. The peak is at ``pct_start * total_steps - 1``, which
    need not be a whole number.

    Parameters
    ----------
    max_lr : float
        The peak, >= 0.
    total_steps : int
        Steps of the cycle, >= 1.
    pct_start : float, default 0.3
        The fraction of the cycle in which the rate rises, in [0, 1) despite its name.
    div_factor : float, default 25.0
        Peak over first rate, > 0.
    final_div_factor : float, default 1e4
        First over last rate, > 0.

    Notes
    -----
    Smith & Topin, "Super-Convergence", 2018, in fastai's form of two phases. Names, defaults and
    values are those of torch's ``OneCycleLR`` (``anneal_strategy="cos"``, ``three_phase=False``),
    to the last bit on one platform. torch also cycles the momentum unless ``cycle_momentum=False``;
    this schedule leaves it alone. At step ``total_steps`` torch's rate rises again, and later steps
    raise. optax's ``cosine_onecycle_schedule`` has its peak at ``int(pct_start * total_steps)`` and
    its last rate at ``total_steps``: the same curve, a step later and rounded to whole steps.

    Examples
    --------
    >>> schedule = OneCycle(1.0, total_steps=11, pct_start=0.5, div_factor=10.0)
    >>> [round(schedule(step), 3) for step in (0, 4, 5, 10)]
    [0.1, 0.973, 0.98, 0.0]
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "max_lr")
        self._check_integer("total_steps", at_least=1)
        self._check_reals(FRACTION, "pct_start")
        self._check_reals(FACTOR, "div_factor", "final_div_factor")

    def _horizon(self) -> int:
        return self.total_steps

    def _rate(self, step: int) -> float:
        first_lr = self.max_lr / self.div_factor
        peak = self.pct_start * self.total_steps - 1
        last = self.total_steps - 1
        step = min(step, last)
        # Before a peak at step 0 there is no rise (torch divides 0 by 0 there): the decay begins.
        if step <= peak and peak > 0:
            return cosine_between(first_lr, self.max_lr, step / peak)
        # As in torch, the second phase starts at the peak even if that is negative.
        fraction = (step - peak) / (last - peak)
        return cosine_between(self.max_lr, first_lr / self.final_div_factor, fraction)


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    r"""Half a cosine from `lr` down to `final_lr`, again and again (SGDR).

    .. math::

        final + (lr - final) · m^i · \frac{1}{2} \left(1 + \cos\left(π \frac{s}{T_i}\right)\right),
        \quad T_i = first · t^i

    in step :math:`s` of cycle :math:`i`, where :math:`t` is `t_mul` and :math:`m` is `m_mul`.

    Parameters
    ----------
    lr : float
        The rate at the start of the first cycle, >= 0.
    first_decay_steps : int
        Length of the first cycle, >= 1.
    t_mul : float, default 1.0
        How many times as long as the last each cycle is, >= 1. The default is torch's.
    m_mul : float, default 1.0
        Factor of the height of each cycle over `final_lr`, compared with the last, > 0.
    final_lr : float, default 0.0
        The rate towards which each cycle falls, from 0 to `lr`: a rate, not a fraction of `lr`.

    Notes
    -----
    Loshchilov & Hutter, "SGDR", ICLR 2017. Names as Keras's ``CosineDecayRestarts``, where `t_mul`
    is 2 by default and ``alpha`` is the *fraction* ``final_lr / lr``; torch's
    ``CosineAnnealingWarmRestarts`` calls them ``T_0``, ``T_mult`` and ``eta_min``, and takes the
    steps of an epoch as fractions of it; optax's ``sgdr_schedule`` lists its cycles. With a warm-up:
    ``Warmup(CosineRestarts(...), warmup_steps)``.

    Examples
    --------
    >>> schedule = CosineRestarts(1.0, first_decay_steps=10, t_mul=2.0, m_mul=0.5)
    >>> [schedule(step) for step in (0, 5, 10, 20, 30)]
    [1.0, 0.5, 0.5, 0.25, 0.25]
    """

    lr: float
    first_decay_steps: int
    t_mul: float = 1.0
    m_mul: float = 1.0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr", "final_lr")
        self._check_integer("first_decay_steps", at_least=1)
        self._check_reals(_AT_LEAST_1, "t_mul")
        self._check_reals(FACTOR, "m_mul")
        self._check_final_lr(self.lr, self.final_lr)

    def _horizon(self) -> int:
        return math.ceil(self.first_decay_steps * (1 + self.t_mul + self.t_mul**2))

    def _rate(self, step: int) -> float:
        cycle, fraction = self._position(step)
        peak = self.final_lr + (self.lr - self.final_lr) * self.m_mul**cycle
        return cosine_between(peak, self.final_lr, fraction)

    def _position(self, step: int) -> tuple[int, float]:
        """Which cycle a step is in, and which fraction of it has passed."""
        first, ratio = self.first_decay_steps, self.t_mul
        if ratio == 1.0:
            cycle, passed = divmod(step, first)
            return cycle, passed / first
        cycle = int(math.log1p(step / first * (ratio - 1.0)) / math.log(ratio))
        # The logarithm may round across a restart.
        while self._start(cycle) > step:
            cycle -= 1
        while self._start(cycle + 1) <= step:
            cycle += 1
        return cycle, (step - self._start(cycle)) / (first * ratio**cycle)

    def _start(self, cycle: int) -> float:
        ratio = self.t_mul
        start = self.first_decay_steps * ((ratio**cycle - 1.0) / (ratio - 1.0))
        if start < 2**53:  # beyond it there are no fractions
            # 10 steps and 1.9 times 10 are 29, which this misses by an error of rounding.
            past = math.remainder(start, 1.0)
            if abs(past) <= 1e-12 * start:
                start -= past
        return start
