"""Rules whose steps combine two averages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedstep._options import Betas3, Flag, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["AdEMAMix", "Adan"]


class Adan(Optimizer):
    """Adam with Nesterov momentum from the differences of successive gradients::

        d = g - g'                          (g' the previous gradient; at the first step d = 0)
        m = beta1 * m + (1 - beta1) * g
        w = beta2 * w + (1 - beta2) * d
        v = beta3 * v + (1 - beta3) * (g + beta2 * d)**2
        p = p - lr * (m / c1 + beta2 * w / c2) / (sqrt(v / c3) + eps),  ci = 1 - betai**t
        p = p / (1 + lr * weight_decay)

    Parameters
    ----------
    betas
        How much of themselves the averages of the gradients (beta1), of their differences (beta2) and
        of the squares (beta3) keep at each step.
    weight_decay
        How strongly the weights are pulled towards 0: each step divides them by
        ``1 + lr * weight_decay`` (decoupled decay, as a proximal step).

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_diff`` (w), ``exp_avg_sq`` (v), ``pre_grad`` (g'). Formula and
    defaults are those of the authors' code.

    Elsewhere under this name: the paper writes ``1 - beta`` for the betas here; optax weighs the
    differences by ``1 - beta2``, and has a second eps, 1e-8, inside the root; the authors' ``no_prox``
    decays as :class:`AdamW`.

    References
    ----------
    Xie et al. 2024, Algorithm 1, https://arxiv.org/abs/2208.06677
    https://github.com/sail-sg/Adan
    """

    rule = "adan"

    def __init__(
        self,
        params: Params,
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

    In the first `warmup_steps`, with ``x = t / warmup_steps``, ``alpha' = x * alpha`` and
    ``1 / log(beta3') = (1 - x) / log(beta1) + x / log(beta3)``, but never above beta3; then they are
    ``alpha`` and ``beta3``.

    Parameters
    ----------
    betas
        How much of themselves the fast average of the gradients (beta1), that of their squares (beta2)
        and the slow one (beta3) keep at each step: at 0.9999 it reaches back about 10,000 gradients.
    alpha
        The weight of the slow average beside the fast one.
    warmup_steps
        Over how many steps `alpha` and beta3 rise to their values; 0 for none. The paper takes all
        steps of the run.
    weight_decay
        How strongly the weights are pulled towards 0: each step multiplies them by
        ``1 - lr * weight_decay`` (decoupled decay).

    Notes
    -----
    State: ``exp_avg_fast`` (m), ``exp_avg_slow`` (n), ``exp_avg_sq`` (v). Formula and defaults are
    the paper's, but for `warmup_steps`.

    Elsewhere under this name: the authors' code defaults to alpha 2 and has a warm-up for each of
    alpha and beta3; optax takes schedules for them.

    References
    ----------
    Pagliardini, Ablin & Grangier 2024, Algorithm 1, https://arxiv.org/abs/2409.03137
    """

    rule = "ademamix"

    def __init__(
        self,
        params: Params,
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
