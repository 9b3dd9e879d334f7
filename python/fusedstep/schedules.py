r"""Learning-rate schedules: immutable, stateless callables ``step -> lr``.

``step`` is the number of *completed* steps: 0 for the first step, as in torch's ``LambdaLR`` and in
optax. Steps are optimizer steps (batches), never epochs. A schedule is a function of ``step``
alone, so to resume a run only its step count has to be saved, and schedules compare, hash, print
and pickle by their parameters.

Rates are Python floats, computed in double precision. ``cos`` and ``pow`` come from the platform's
libm, so the last bit of a rate may differ between platforms; with the same rate, a step has the
same bits.

Examples
--------
>>> schedule = Cosine(lr=1e-3, total_steps=100, warmup_steps=10)
>>> [schedule(step) for step in (0, 5, 10, 55, 100)]
[0.0, 0.0005, 0.001, 0.0005, 0.0]
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from fusedstep._checks import as_integer, as_number

__all__ = ["Constant", "Cosine", "Exponential", "InverseSquareRoot", "Linear", "OneCycle", "Step"]


class _Range(NamedTuple):
    expected: str
    contains: Callable[[float], bool]


_RATE = _Range("a finite number >= 0", lambda value: value >= 0)
_FACTOR = _Range("a finite number > 0", lambda value: value > 0)
_FRACTION = _Range("a number in [0, 1)", lambda value: 0 <= value < 1)


class _Schedule(ABC):
    """Base class of all schedules, which checks parameters, the step and the result."""

    def __call__(self, step: int) -> float:
        """Return the learning rate of the step that follows `step` completed ones."""
        completed = as_integer(f"{type(self).__name__}: step", step, 0)
        try:
            rate = self._rate(completed)
        except OverflowError:  # Python's pow raises where its product returns inf
            rate = math.inf
        if not math.isfinite(rate):
            raise OverflowError(f"{self}: step: the rate exceeds a double at step {completed}")
        return rate

    @abstractmethod
    def _rate(self, step: int) -> float: ...

    # The fields are converted to Python numbers: a NumPy scalar would determine the precision of
    # the arithmetic and the type of the rate.
    def _check_reals(self, allowed: _Range, *names: str) -> None:
        for name in names:
            where = f"{type(self).__name__}: {name}"
            value = as_number(where, getattr(self, name), allowed.expected, allowed.contains)
            object.__setattr__(self, name, value)

    def _check_integer(self, name: str, *, at_least: int) -> None:
        value = as_integer(f"{type(self).__name__}: {name}", getattr(self, name), at_least)
        object.__setattr__(self, name, value)


def _cosine_between(start: float, end: float, fraction: float) -> float:
    # torch's order of operations, so that OneCycle has torch's bits; exactly `end` at fraction 1.
    return end + (start - end) / 2.0 * (math.cos(math.pi * fraction) + 1.0)


@dataclass(frozen=True)
class Constant(_Schedule):
    """The same rate at every step: ``lr``.

    Parameters
    ----------
    lr : float
        The learning rate, >= 0.
    """

    lr: float

    def __post_init__(self) -> None:
        self._check_reals(_RATE, "lr")

    def _rate(self, step: int) -> float:  # noqa: ARG002
        return self.lr


@dataclass(frozen=True)
class Step(_Schedule):
    r"""Multiply the rate by `gamma` every `step_size` steps: :math:`lr · γ^{⌊step / step\_size⌋}`.

    Parameters
    ----------
    lr : float
        The first learning rate, >= 0.
    step_size : int
        Steps from one drop to the next, >= 1.
    gamma : float, default 0.1
        The factor of each drop, > 0. The default is torch's.

    Notes
    -----
    torch's ``StepLR`` is the same rule, customarily advanced once an epoch: there ``step_size``
    counts epochs. torch multiplies step by step; this closed form rounds once, so the two may
    differ in the last bits. Keras and optax: ``ExponentialDecay`` with ``staircase=True``.
    """

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        self._check_reals(_RATE, "lr")
        self._check_integer("step_size", at_least=1)
        self._check_reals(_FACTOR, "gamma")

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class Exponential(_Schedule):
    r"""Multiply the rate by `gamma` every step: :math:`lr · γ^{step}`.

    Parameters
    ----------
    lr : float
        The first learning rate, >= 0.
    gamma : float
        The factor of each step, > 0. Above 1 the rate grows, as in a learning-rate range test,
        until OverflowError is raised where it exceeds a double.

    Notes
    -----
    torch's ``ExponentialLR`` is the same rule, customarily advanced once an epoch. Keras
    and optax write ``decay_rate ** (step / decay_steps)``: here
    ``gamma = decay_rate ** (1 / decay_steps)``.
    """

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        self._check_reals(_RATE, "lr")
        self._check_reals(_FACTOR, "gamma")

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma**step


@dataclass(frozen=True)
class _Decay(_Schedule):
    """A linear warm-up from 0 to `lr`, then a decay to `final_lr`, which is kept."""

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        self._check_reals(_RATE, "lr", "final_lr")
        self._check_integer("total_steps", at_least=1)
        self._check_integer("warmup_steps", at_least=0)
        name = type(self).__name__
        if self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"{name}: warmup_steps: expected fewer than total_steps = {self.total_steps}, "
                f"got {self.warmup_steps}"
            )
        if self.final_lr > self.lr:
            raise ValueError(
                f"{name}: final_lr: expected a rate <= lr = {self.lr} (not a fraction of it), "
                f"got {self.final_lr}"
            )

    def _rate(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.lr * (step / self.warmup_steps)
        if step >= self.total_steps:
            return self.final_lr
        return self._between((step - self.warmup_steps) / (self.total_steps - self.warmup_steps))

    @abstractmethod
    def _between(self, fraction: float) -> float:
        """Return the rate after this fraction of the decay, which is below 1."""


@dataclass(frozen=True)
class Cosine(_Decay):
    r"""Linear warm-up from 0 to `lr`, then half a cosine down to `final_lr`, which is kept.

    .. math::

        lr · \frac{step}{warmup}
        \quad\text{then}\quad
        final + \frac{lr - final}{2} \left(1 + \cos\left(π \frac{step - warmup}{total - warmup}
        \right)\right)

    Parameters
    ----------
    lr : float
        The highest learning rate, >= 0, reached after `warmup_steps`.
    total_steps : int
        The step from which the rate is `final_lr`, >= 1. It counts the warm-up too.
    warmup_steps : int, default 0
        Length of the warm-up, < `total_steps`.
    final_lr : float, default 0.0
        The last learning rate, from 0 to `lr`: a rate, not a fraction of `lr`.

    Notes
    -----
    Loshchilov & Hutter, "SGDR", ICLR 2017, without restarts. The warm-up starts at 0, so the first
    step changes nothing; so do Hugging Face's ``get_cosine_schedule_with_warmup`` and optax's
    ``warmup_cosine_decay_schedule(init_value=0)``, whose ``decay_steps`` counts the warm-up as
    `total_steps` does. Keras's ``CosineDecay`` does not count it, and its ``alpha`` is the
    *fraction* ``final_lr / lr``. torch's ``CosineAnnealingLR`` has no warm-up and rises again after
    ``T_max``.
    """

    def _between(self, fraction: float) -> float:
        return _cosine_between(self.lr, self.final_lr, fraction)


@dataclass(frozen=True)
class Linear(_Decay):
    r"""Linear warm-up from 0 to `lr`, then linear decay to `final_lr`, which is kept.

    .. math::

        lr · \frac{step}{warmup}
        \quad\text{then}\quad
        final + (lr - final) \left(1 - \frac{step - warmup}{total - warmup}\right)

    Parameters
    ----------
    lr : float
        The highest learning rate, >= 0, reached after `warmup_steps`.
    total_steps : int
        The step from which the rate is `final_lr`, >= 1. It counts the warm-up too.
    warmup_steps : int, default 0
        Length of the warm-up, < `total_steps`.
    final_lr : float, default 0.0
        The last learning rate, from 0 to `lr`: a rate, not a fraction of `lr`.

    Notes
    -----
    The default of Hugging Face's ``Trainer``, whose ``get_linear_schedule_with_warmup`` it equals
    at ``final_lr=0``. torch's ``LinearLR`` is one straight line between two factors of the rate,
    and rises by default; in optax two of ``linear_schedule`` are joined.
    """

    def _between(self, fraction: float) -> float:
        return self.final_lr + (self.lr - self.final_lr) * (1.0 - fraction)


@dataclass(frozen=True)
class OneCycle(_Schedule):
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
    """

    max_lr: float
    total_steps: int
    pct_start: float = 0.3
    div_factor: float = 25.0
    final_div_factor: float = 1e4

    def __post_init__(self) -> None:
        self._check_reals(_RATE, "max_lr")
        self._check_integer("total_steps", at_least=1)
        self._check_reals(_FRACTION, "pct_start")
        self._check_reals(_FACTOR, "div_factor", "final_div_factor")

    def _rate(self, step: int) -> float:
        first_lr = self.max_lr / self.div_factor
        peak = self.pct_start * self.total_steps - 1
        last = self.total_steps - 1
        step = min(step, last)
        # Before a peak at step 0 there is no rise (torch divides 0 by 0 there): the decay begins.
        if step <= peak and peak > 0:
            return _cosine_between(first_lr, self.max_lr, step / peak)
        # As in torch, the second phase starts at the peak even if that is negative.
        fraction = (step - peak) / (last - peak)
        return _cosine_between(self.max_lr, first_lr / self.final_div_factor, fraction)


@dataclass(frozen=True)
class InverseSquareRoot(_Schedule):
    r"""Linear warm-up from 0 to `lr`, then decay with the inverse square root of the step.

    .. math:: lr · \min\left(\frac{step}{warmup}, \sqrt{\frac{warmup}{step}}\right)

    Parameters
    ----------
    lr : float
        The highest learning rate, >= 0, reached after `warmup_steps`.
    warmup_steps : int
        Length of the warm-up, and the time scale of the decay, >= 1.

    Notes
    -----
    Vaswani et al., "Attention Is All You Need", 2017, section 5.3, where
    :math:`lr = (d_{model} · warmup)^{-1/2}` and steps count from 1; here they count from 0, so the
    first step changes nothing. Equal to Hugging Face's ``get_inverse_sqrt_schedule`` at its
    default time scale.
    """

    lr: float
    warmup_steps: int

    def __post_init__(self) -> None:
        self._check_reals(_RATE, "lr")
        self._check_integer("warmup_steps", at_least=1)

    def _rate(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.lr * (step / self.warmup_steps)
        return self.lr * math.sqrt(self.warmup_steps / step)


def __dir__() -> list[str]:
    return sorted(__all__)
