"""Schedules without an end: drops, factors, and the inverse square root."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from fusedstep.schedules.base import FACTOR, NOT_NEGATIVE, Schedule

__all__ = ["Constant", "Exponential", "InverseSquareRoot", "MultiStep", "Step"]


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate at every step: ``lr``.

    Parameters
    ----------
    lr : float
        The learning rate, >= 0.

    Examples
    --------
    >>> Constant(0.1)(1000)
    0.1
    """

    lr: float

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr")

    def _rate(self, step: int) -> float:  # noqa: ARG002
        return self.lr


@dataclass(frozen=True)
class Step(Schedule):
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

    Examples
    --------
    >>> schedule = Step(1.0, step_size=100, gamma=0.5)
    >>> [schedule(step) for step in (0, 99, 100, 200)]
    [1.0, 1.0, 0.5, 0.25]
    """

    lr: float
    step_size: int
    gamma: float = 0.1

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr")
        self._check_integer("step_size", at_least=1)
        self._check_reals(FACTOR, "gamma")

    def _horizon(self) -> int:
        return 5 * self.step_size

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma ** (step // self.step_size)


@dataclass(frozen=True)
class MultiStep(Schedule):
    r"""Multiply the rate by `gamma` at each of the `milestones`: :math:`lr · γ^n`.

    :math:`n` is how many of the milestones have been reached.

    Parameters
    ----------
    lr : float
        The first learning rate, >= 0.
    milestones : list of int
        The steps from which the rate is lower, increasing and >= 1.
    gamma : float, default 0.1
        The factor of each drop, > 0. The default is torch's.

    Notes
    -----
    torch's ``MultiStepLR``, customarily advanced once an epoch: there the milestones are epochs.
    optax's ``piecewise_constant_schedule`` has a factor for each boundary. For rates of your own
    rather than factors, as in Keras's ``PiecewiseConstantDecay``, see :class:`Join`.

    Examples
    --------
    >>> schedule = MultiStep(1.0, milestones=[30, 80], gamma=0.5)
    >>> [schedule(step) for step in (0, 29, 30, 79, 80)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    lr: float
    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr")
        self._check_increasing("milestones")
        self._check_reals(FACTOR, "gamma")

    def _horizon(self) -> int:
        return max([*self.milestones, 4]) * 5 // 4

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma ** bisect_right(self.milestones, step)


@dataclass(frozen=True)
class Exponential(Schedule):
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

    Examples
    --------
    >>> schedule = Exponential(1.0, gamma=0.5)
    >>> [schedule(step) for step in (0, 1, 2, 3)]
    [1.0, 0.5, 0.25, 0.125]
    """

    lr: float
    gamma: float

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr")
        self._check_reals(FACTOR, "gamma")

    def _horizon(self) -> int:
        return math.ceil(math.log(100) / max(abs(math.log(self.gamma)), 1e-6))

    def _rate(self, step: int) -> float:
        return self.lr * self.gamma**step


@dataclass(frozen=True)
class InverseSquareRoot(Schedule):
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

    Examples
    --------
    >>> schedule = InverseSquareRoot(1.0, warmup_steps=4)
    >>> [schedule(step) for step in (0, 2, 4, 16, 64)]
    [0.0, 0.5, 1.0, 0.5, 0.25]
    """

    lr: float
    warmup_steps: int

    def __post_init__(self) -> None:
        self._check_reals(NOT_NEGATIVE, "lr")
        self._check_integer("warmup_steps", at_least=1)

    def _horizon(self) -> int:
        return 10 * self.warmup_steps

    def _rate(self, step: int) -> float:
        if step < self.warmup_steps:
            return self.lr * (step / self.warmup_steps)
        return self.lr * math.sqrt(self.warmup_steps / step)
