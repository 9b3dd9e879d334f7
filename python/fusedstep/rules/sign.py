"""Rules that use only the sign of the gradient or of its average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusedstep._options import Betas, Etas, Flag, LearningRate, NonNegative, Number, Range
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["Lion", "Rprop"]


class Lion(Optimizer):
    """Every element moves by the same distance, in the direction of the sign of an average::

        p = p * (1 - lr * weight_decay) - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g

    ``sign(0) = 0``, and the sign of NaN is NaN.

    Parameters
    ----------
    lr
        Learning rate: how far every element moves in a step. The paper advises 3 to 10 times less than
        for AdamW.
    betas
        beta1: how much the average counts, beside the gradient, for the direction of a step. beta2: how
        much of itself the average keeps at each step.
    weight_decay
        How strongly the weights are pulled towards 0: each step multiplies them by
        ``1 - lr * weight_decay`` (decoupled decay). The paper advises 3 to 10 times more than for AdamW.

    Notes
    -----
    State: ``exp_avg`` (m). Formula and defaults are those of the authors' code.

    Elsewhere under this name: optax defaults to a weight decay of 1e-3.

    References
    ----------
    Chen et al. 2023, Program 1, https://arxiv.org/abs/2302.06675
    """

    rule = "lion"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class Rprop(Optimizer):
    """Every element has its own step length, which depends on the signs of its gradients::

        f = etas[1] where g * g' > 0;  etas[0] where g * g' < 0;  else 1
        l = min(max(f * l, step_sizes[0]), step_sizes[1])
        g = 0 where g * g' < 0
        p = p - sign(g) * l;  g' = g

    Meant for gradients of the full data set: those of mini-batches change sign by chance.

    Parameters
    ----------
    lr
        The first step length of every element, fixed from then on; of a schedule, its value at step 0.
    etas
        The factors by which a step length shrinks where the gradient changes its sign, and grows where
        it keeps it.
    step_sizes
        The shortest and the longest step length.

    Notes
    -----
    State: ``prev`` (g'), ``step_size`` (l), which starts at `lr`. Formula and defaults are those of
    ``torch.optim.Rprop``, which has no weight decay.

    Elsewhere under this name: this is the variant without backtracking (iRprop-); the paper undoes
    the last step where the sign changes. optax (0.2.8) moves one step late: the first step moves
    nothing, the second by the length of the first.

    References
    ----------
    Riedmiller & Braun 1993, https://doi.org/10.1109/ICNN.1993.298623
    Igel & Hüsken 2000, "Improving the Rprop Learning Algorithm"
    """

    rule = "rprop"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-2,
        etas: Etas = (0.5, 1.2),
        step_sizes: Range = (1e-6, 50.0),
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        shortest, longest = values["step_sizes"]
        if shortest > longest:
            raise ValueError(
                f"step_sizes: expected step_sizes[0] <= step_sizes[1], got {values['step_sizes']!r}"
            )

    @staticmethod
    def initial_state(values: Mapping[str, Any]) -> Mapping[str, float]:
        """The lengths start at ``lr``."""
        lr = values["lr"]
        if callable(lr):
            lr = Number().check("lr (of the schedule, at step 0)", lr(0))
        return {"step_size": lr}
