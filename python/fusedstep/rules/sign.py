"""Rules that follow the sign of the gradient and choose the length of a step without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedstep.optimizer import Optimizer
from fusedstep.options import Betas, Flag, LearningRate, NonNegative

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep.pipeline import Pipeline

__all__ = ["Lion"]


class Lion(Optimizer):
    """Every element moves by the same length, in the direction of an average's sign::

        p = p * (1 - lr * weight_decay) - lr * sign(beta1 * m + (1 - beta1) * g)
        m = beta2 * m + (1 - beta2) * g

    ``sign(0) = 0``, and the sign of NaN is NaN. The weight decay is decoupled. State: ``exp_avg``
    (m). Defaults are those of the authors' code: lr 1e-4, betas (0.9, 0.99), weight_decay 0. The
    paper advises a learning rate 3 to 10 times smaller than AdamW's, and a weight decay as much
    larger.

    Elsewhere under this name: optax defaults to a weight decay of 1e-3.

    Source: Chen et al. 2023, Program 1, https://arxiv.org/abs/2302.06675
    """

    rule = "lion"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-4,
        betas: Betas = (0.9, 0.99),
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
