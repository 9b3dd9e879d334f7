"""Rules with two moments of the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedstep._options import Betas, Flag, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["Adam", "AdamW", "Adamax", "NAdam", "RAdam"]


class Adam(Optimizer):
    """Adaptive steps from the first two moments of the gradient, corrected for their start at 0::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w = max(w, v)                                  (amsgrad; else w = v)
        p = p - lr * (m / c1) / (sqrt(w / c2) + eps),  c1 = 1 - beta1**t, c2 = 1 - beta2**t

    Parameters
    ----------
    amsgrad
        Divide by the largest second moment so far, so that steps do not grow again where gradients
        become small. It takes one more array of state.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v), with `amsgrad` ``max_exp_avg_sq`` (w). With
    `eps_inside_sqrt` the root is ``sqrt(w / c2 + eps)``. Defaults are the paper's and torch's.

    Computed as ``p - s * m / (sqrt(w) + e)`` with ``s = lr * sqrt(c2) / c1`` and
    ``e = eps * sqrt(c2)`` (inside the root ``eps * c2``): the same formula with one division.

    Elsewhere under this name: Keras and Thinc use the paper's "epsilon hat", ``e = eps`` at every
    step, which acts like an eps 31.6 times larger at t = 1. `amsgrad` takes the maximum of v before
    its correction, as torch does; optax (0.2.8) takes it after, and with ``bias_correction_nu=False``
    does not correct v at all.

    References
    ----------
    Kingma & Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980
    Reddi, Kale & Kumar 2018 (amsgrad), https://arxiv.org/abs/1904.09237
    """

    rule = "adam"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        amsgrad: Flag = False,
        eps_inside_sqrt: Flag = False,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class AdamW(Adam):
    """Adam with decoupled weight decay, which shrinks the weights before the step of :class:`Adam`::

        p = p * (1 - lr * weight_decay)

    The decay does not pass through the moments.

    Parameters
    ----------
    weight_decay
        How strongly the weights are pulled towards 0: each step multiplies them by
        ``1 - lr * weight_decay``.

    Notes
    -----
    State: ``exp_avg``, ``exp_avg_sq``, with `amsgrad` ``max_exp_avg_sq``. Formula and defaults are
    those of ``torch.optim.AdamW``: Adam's, and its weight decay.

    Elsewhere under this name: optax decays by 1e-4 and Keras by 4e-3, where nothing else is said.
    Thinc decays after the update, which gives another result; the paper's decay is multiplied by a
    schedule but not by the base learning rate.

    References
    ----------
    Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
    """

    rule = "adamw"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 1e-2,
        amsgrad: Flag = False,
        eps_inside_sqrt: Flag = False,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class Adamax(Optimizer):
    """Adam with the infinity norm in place of the second moment::

        m = beta1 * m + (1 - beta1) * g
        u = max(beta2 * u, abs(g) + eps)
        p = p - lr / (1 - beta1**t) * m / u

    Parameters
    ----------
    betas
        How much of themselves the average of the gradients (beta1) and their fading maximum (beta2)
        keep at each step.
    eps
        Added to the size of each gradient, so that nothing is divided by 0.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_inf`` (u). Formula and defaults are those of ``torch.optim.Adamax``.

    Elsewhere under this name: the paper has no eps; Keras adds it to u where it divides.

    References
    ----------
    Kingma & Ba 2015, Algorithm 2, https://arxiv.org/abs/1412.6980
    """

    rule = "adamax"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class NAdam(Optimizer):
    """Adam with Nesterov momentum, which looks one step ahead::

        m  = beta1 * m + (1 - beta1) * g
        v  = beta2 * v + (1 - beta2) * g * g
        mu = beta1 * (1 - 0.5 * 0.96**(t * momentum_decay)),  mu' the same of t + 1
        n  = (1 - mu) * g / (1 - c) + mu' * m / (1 - c * mu')
        p  = p - lr * n / (sqrt(v / (1 - beta2**t)) + eps)

    with ``c`` the product of the ``mu`` of all steps so far.

    Parameters
    ----------
    weight_decay
        How strongly the weights are pulled towards 0: ``weight_decay * p`` is added to the gradient,
        or with `decoupled_weight_decay` each step multiplies them by ``1 - lr * weight_decay``.
    momentum_decay
        How quickly ``mu`` rises from half of beta1 to beta1.
    decoupled_weight_decay
        Decay the weights as :class:`AdamW` does.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). Formula and defaults are those of
    ``torch.optim.NAdam``.

    Elsewhere under this name: torch keeps ``c`` in its state (in float32). Here it is computed from
    the counter and the present options, so that it is exact after a resume; changing betas or
    momentum_decay applies to all past steps, too. optax has no schedule of ``mu``: ``mu = beta1``.

    References
    ----------
    Dozat 2016, Algorithm 2, https://openreview.net/forum?id=OM0jvwB8jIp57ZJjtNEZ
    """

    rule = "nadam"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 2e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        momentum_decay: NonNegative = 4e-3,
        decoupled_weight_decay: Flag = False,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class RAdam(Optimizer):
    """Adam whose first steps are those of momentum, until the second moment is reliable::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        l = L - 2 * t * beta2**t / c2,    L = 2 / (1 - beta2) - 1,  c2 = 1 - beta2**t
        r = sqrt((l - 4) * (l - 2) * L / ((L - 4) * (L - 2) * l))
        p = p - lr * m / c1 * r * sqrt(c2) / (sqrt(v) + eps)    (where l > 5)
        p = p - lr * m / c1                                     (else), c1 = 1 - beta1**t

    Parameters
    ----------
    weight_decay
        How strongly the weights are pulled towards 0: ``weight_decay * p`` is added to the gradient,
        or with `decoupled_weight_decay` each step multiplies them by ``1 - lr * weight_decay``.
    decoupled_weight_decay
        Decay the weights as :class:`AdamW` does.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). Formula and defaults are those of
    ``torch.optim.RAdam``. eps is added to the root before its correction.

    Elsewhere under this name: the paper has no eps and begins where l > 4; optax begins where l >= 5
    and adds eps to the corrected root.

    References
    ----------
    Liu et al. 2020, Algorithm 2, https://arxiv.org/abs/1908.03265
    """

    rule = "radam"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        decoupled_weight_decay: Flag = False,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
