"""Rules whose steps combine two averages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedstep._options import Betas3, Flag, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline

__all__ = ["AdEMAMix", "Adan"]


class Adan(Optimizer):
    """Adam with Nesterov momentum from the differences of successive gradients::

        d = g - g'                          (g' the previous gradient; at the first step d = 0)
        m = beta1 * m + (1 - beta1) * g
        w = beta2 * w + (1 - beta2) * d
        v = beta3 * v + (1 - beta3) * (g + beta2 * d)**2
        p = p - lr * (m / c1 + beta2 * w / c2) / (sqrt(v / c3) + eps),  ci = 1 - betai**t
        p = p / (1 + lr * weight_decay)

    The weight decay is decoupled, as a proximal step. State: ``exp_avg`` (m), ``exp_avg_diff`` (w),
    ``exp_avg_sq`` (v), ``pre_grad`` (g'). Formula and defaults as the authors' code: lr 1e-3, betas
    (0.98, 0.92, 0.99), eps 1e-8, weight_decay 0.

    Elsewhere under this name: the paper writes ``1 - beta`` for the betas here; optax weighs the
    differences by ``1 - beta2``; the authors' ``no_prox`` decays as :class:`AdamW`.

    Source: Xie et al. 2024, Algorithm 1, https://arxiv.org/abs/2208.06677;
    https://github.com/sail-sg/Adan
    """

    rule = "adan"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-3,
        betas: Betas3 = (0.98, 0.92, 0.99),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class AdEMAMix(Optimizer):
    """Adam with a second, slow average of the gradients, over thousands of steps::

        p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        n = beta3' * n + (1 - beta3') * g
        v = beta2 * v + (1 - beta2) * g * g
        p = p - lr * (m / c1 + alpha' * n) / (sqrt(v / c2) + eps),  ci = 1 - betai**t

    In the first ``warmup_steps`` (0: none), with ``x = t / warmup_steps``, ``alpha' = x * alpha``
    and ``1 / log(beta3') = (1 - x) / log(beta1) + x / log(beta3)``, but never above beta3; then
    they are ``alpha`` and ``beta3``. The weight decay is decoupled. State: ``exp_avg_fast`` (m),
    ``exp_avg_slow`` (n), ``exp_avg_sq`` (v). Formula and defaults of the paper: lr 1e-3, betas
    (0.9, 0.999, 0.9999), alpha 5, eps 1e-8, weight_decay 0; it warms up over all steps of a run.

    Elsewhere under this name: the authors' code defaults to alpha 2 and has a warm-up for each of
    alpha and beta3; optax takes schedules for them.

    Source: Pagliardini, Ablin & Grangier 2024, Algorithm 1, https://arxiv.org/abs/2409.03137
    """

    rule = "ademamix"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-3,
        betas: Betas3 = (0.9, 0.999, 0.9999),
        alpha: NonNegative = 5.0,
        warmup_steps: NonNegative = 0.0,
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
