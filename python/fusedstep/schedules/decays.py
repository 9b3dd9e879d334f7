"""Schedules of a run of known length: warm-up, and a decay that ends with the run."""

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from fusedstep.schedules.base import FACTOR, NOT_NEGATIVE, Schedule, cosine_between

__all__ = ["Cosine", "Linear", "Polynomial", "WarmupStableDecay"]


@dataclass(frozen=True)
class Decay(Schedule):
    """A linear warm-up from 0 to `lr`, then a decay to `final_lr`, which is kept."""

    lr: float
    total_steps: int
    warmup_steps: int = 0
    final_lr: float = 0.0

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr", "final_lr")
        self._check_integer("total_steps", at_least=1)
        self._check_integer("warmup_steps", at_least=0)
        if self.warmup_steps >= self.total_steps:
            raise ValueError(
                f"{self._where('warmup_steps')}: expected fewer than total_steps = {self.total_steps}, "
                f"got {self.warmup_steps}"
            )
        self._check_final_lr(self.lr, self.final_lr)

    def _horizon(self) -> int:
        return self.total_steps

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
class Cosine(Decay):
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

    Examples
    --------
    >>> schedule = Cosine(1.0, total_steps=100, warmup_steps=20)
    >>> [schedule(step) for step in (0, 10, 20, 60, 100)]
    [0.0, 0.5, 1.0, 0.5, 0.0]
    """

    def _between(self, fraction: float) -> float:
        return cosine_between(self.lr, self.final_lr, fraction)


@dataclass(frozen=True)
class Linear(Decay):
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

    Examples
    --------
    >>> schedule = Linear(1.0, total_steps=100, warmup_steps=20, final_lr=0.5)
    >>> [schedule(step) for step in (0, 10, 20, 60, 100)]
    [0.0, 0.5, 1.0, 0.75, 0.5]
    """

    def _between(self, fraction: float) -> float:
        return self.final_lr + (self.lr - self.final_lr) * (1.0 - fraction)


@dataclass(frozen=True)
class Polynomial(Decay):
    r"""Linear warm-up from 0 to `lr`, then a power of what is left of the run, down to `final_lr`.

    .. math::

        lr · \frac{step}{warmup}
        \quad\text{then}\quad
        final + (lr - final) \left(1 - \frac{step - warmup}{total - warmup}\right)^{power}

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
    power : float, default 1.0
        The exponent, > 0: above 1 the rate falls quickly at first, below 1 at last. At 1, as in
        torch and Keras, the schedule is :class:`Linear`.

    Notes
    -----
    torch's ``PolynomialLR`` (``total_iters``, `power`) ends at 0 and has no warm-up. Keras's
    ``PolynomialDecay`` and optax's ``polynomial_schedule`` call `final_lr` ``end_learning_rate``,
    by default 1e-4, and ``end_value``. Hugging Face's
    ``get_polynomial_decay_schedule_with_warmup`` has `final_lr` 1e-7 by default.

    Examples
    --------
    >>> schedule = Polynomial(1.0, total_steps=100, power=2.0)
    >>> [schedule(step) for step in (0, 50, 75, 100)]
    [1.0, 0.25, 0.0625, 0.0]
    """

    power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_reals(FACTOR, "power")

    def _between(self, fraction: float) -> float:
        return self.final_lr + (self.lr - self.final_lr) * math.pow(1.0 - fraction, self.power)


_DECAYS: Mapping[str, Callable[[float], float]] = {
    "linear": lambda fraction: 1.0 - fraction,
    "cosine": lambda fraction: cosine_between(1.0, 0.0, fraction),
    "1-sqrt": lambda fraction: 1.0 - math.sqrt(fraction),
}


@dataclass(frozen=True)
class WarmupStableDecay(Schedule):
    r"""Linear warm-up from 0 to `lr`, a constant rate, and a decay to `final_lr`, which is kept.

    .. math::

        lr · \frac{step}{warmup}
        \quad\text{then } lr \text{ then}\quad
        final + (lr - final) · d\left(\frac{step - total + decay}{decay}\right)

    with :math:`d(x)` as `decay_type` says.

    Parameters
    ----------
    lr : float
        The learning rate of the long middle part, >= 0.
    total_steps : int
        The step from which the rate is `final_lr`, >= 1. It counts all three parts.
    decay_steps : int
        Length of the decay, >= 1: often 10 to 20 % of the run.
    warmup_steps : int, default 0
        Length of the warm-up. With `decay_steps` not more than `total_steps`.
    final_lr : float, default 0.0
        The last learning rate, from 0 to `lr`: a rate, not a fraction of `lr`.
    decay_type : {"linear", "cosine", "1-sqrt"}, default "linear"
        The curve of the decay: :math:`1 - x`, half a cosine, or :math:`1 - \sqrt{x}`.

    Notes
    -----
    Hu et al., "MiniCPM", 2024; Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond
    Fixed Training Durations", 2024, who advise "1-sqrt". The rate does not depend on the length of
    the run until the decay: a run can be prolonged from before it. The same as Hugging Face's
    ``get_wsd_schedule``, whose default is "cosine". In optax, join three schedules.

    Examples
    --------
    >>> schedule = WarmupStableDecay(1.0, total_steps=100, decay_steps=20, warmup_steps=10)
    >>> [schedule(step) for step in (0, 5, 10, 80, 90, 100)]
    [0.0, 0.5, 1.0, 1.0, 0.5, 0.0]
    """

    lr: float
    total_steps: int
    decay_steps: int
    warmup_steps: int = 0
    final_lr: float = 0.0
    decay_type: Literal["linear", "cosine", "1-sqrt"] = "linear"

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr", "final_lr")
        self._check_integer("total_steps", at_least=1)
        self._check_integer("decay_steps", at_least=1)
        self._check_integer("warmup_steps", at_least=0)
        self._check_choice("decay_type", *_DECAYS)
        if self.warmup_steps + self.decay_steps > self.total_steps:
            raise ValueError(
                f"{self._where('decay_steps')}: expected warmup_steps + decay_steps <= total_steps "
                f"= {self.total_steps}, got {self.warmup_steps} + {self.decay_steps}"
            )
        self._check_final_lr(self.lr, self.final_lr)

    def _horizon(self) -> int:
        return self.total_steps

    def _rate(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.lr * (step / self.warmup_steps)
        if step >= self.total_steps:
            return self.final_lr
        fraction = (step - self.total_steps + self.decay_steps) / self.decay_steps
        if fraction <= 0:
            return self.lr
        return self.final_lr + (self.lr - self.final_lr) * _DECAYS[self.decay_type](fraction)
