"""Variants of Adam with another second moment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusedstep._options import Betas, Flag, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["AdaBelief", "Yogi"]


class AdaBelief(Optimizer):
    """Adam whose second moment is that of the gradient's deviation from its average::

        p = p * (1 - lr * weight_decay)
        m = beta1 * m + (1 - beta1) * g
        s = beta2 * s + (1 - beta2) * (g - m)**2 + eps
        p = p - lr * (m / c1) / (sqrt(s / c2) + eps),  c1 = 1 - beta1**t, c2 = 1 - beta2**t

    Parameters
    ----------
    betas
        How much of themselves the average of the gradients (beta1) and that of the squared deviations
        from it (beta2) keep at each step.
    eps
        Added to the second moment at each step, and to its root, so that nothing is divided by 0.
    weight_decay
        How strongly the weights are pulled towards 0: each step multiplies them by
        ``1 - lr * weight_decay`` (decoupled decay).

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_var`` (s). Formula of the paper, with both its eps; defaults of
    the authors' code.

    Elsewhere under this name: the authors' code rectifies as :class:`RAdam` by default
    (``rectify``); optax has one eps for each place, both 1e-16.

    References
    ----------
    Zhuang et al. 2020, Algorithm 2, https://arxiv.org/abs/2010.07468
    """

    rule = "adabelief"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-16,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class Yogi(Optimizer):
    """Adam whose second moment cannot decrease quickly::

        m = beta1 * m + (1 - beta1) * g
        v = v - (1 - beta2) * sign(v - g * g) * g * g
        p = p - lr * (m / c1) / (sqrt(v / c2) + eps),  c1 = 1 - beta1**t, c2 = 1 - beta2**t

    Parameters
    ----------
    initial_accumulator_value
        Where both moments start.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). Formula and defaults are those of optax; the default lr,
    which optax does not set, is TensorFlow Addons'.

    Elsewhere under this name: TensorFlow Addons has "epsilon hat" (see :class:`Adam`); the paper
    has neither the corrections by c1 and c2 nor an initial value of the first moment, and takes
    that of v from the mean of the squares of a first batch.

    References
    ----------
    Zaheer et al. 2018, Algorithm 2,
    https://papers.nips.cc/paper/8186-adaptive-methods-for-nonconvex-optimization
    """

    rule = "yogi"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-2,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-3,
        weight_decay: NonNegative = 0.0,
        initial_accumulator_value: NonNegative = 1e-6,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())

    @staticmethod
    def initial_state(values: Mapping[str, Any]) -> Mapping[str, float]:
        """Start both moments at ``initial_accumulator_value``."""
        start = values["initial_accumulator_value"]
        return {"exp_avg": start, "exp_avg_sq": start}
