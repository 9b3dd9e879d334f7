"""Rules that scale the step of each array by a ratio of norms: two sweeps per step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusedstep._options import Betas, Flag, Fraction, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["LAMB", "LARS"]


class LAMB(Optimizer):
    """Adam whose step of each array has the norm of the array, for large batches::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        d = (m / c1) / (sqrt(v / c2) + eps) + weight_decay * p,  c1 = 1 - beta1**t, c2 = 1 - beta2**t
        p = p - lr * norm(p) / norm(d) * d

    Where one of the norms is 0, and without `trust_ratio`, their ratio is 1.

    Parameters
    ----------
    weight_decay
        How strongly the weights are pulled towards 0: ``weight_decay * p`` is added to the step, after
        the moments.
    trust_ratio
        Scale each array's step by ``norm(p) / norm(d)``. Usually off, as a group, for biases and
        normalisations.

    Notes
    -----
    State: ``exp_avg`` (m), ``exp_avg_sq`` (v). Two sweeps: one updates m and v and computes the norms,
    one updates p. The norms are those of each array, summed in float64 in a fixed order.
    :meth:`step_rows` is an error. The defaults of eps and of weight_decay are the paper's, the others
    Adam's.

    Elsewhere under this name: optax has a weight decay of 0 by default; NVIDIA's apex scales no
    array whose weight decay is 0, and clips by the global norm (here: ``max_grad_norm``); some
    bound the ratio at 10.

    References
    ----------
    You et al. 2020, Algorithm 2 with phi(x) = x, https://arxiv.org/abs/1904.00962
    """

    rule = "lamb"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-6,
        weight_decay: NonNegative = 0.01,
        trust_ratio: Flag = True,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class LARS(Optimizer):
    """Momentum whose step of each array is proportional to the array's norm, for large batches::

        r   = trust_coefficient * norm(p) / (norm(g) + weight_decay * norm(p))
        buf = momentum * buf + lr * r * (g + weight_decay * p)
        p   = p - buf

    Where numerator or denominator is 0, and without `trust_ratio`, ``r = 1``.

    Parameters
    ----------
    momentum
        How much of the last step is repeated in the next; 0 for none.
    weight_decay
        How strongly the weights are pulled towards 0: ``weight_decay * p`` is added to the gradient,
        after its norm.
    trust_coefficient
        The length of an array's step at lr 1, as a fraction of the array's norm.
    trust_ratio
        Scale each array's step by ``r``. Usually off, as a group, for biases and normalisations.

    Notes
    -----
    State: ``momentum_buffer`` (buf) where `momentum` > 0. Two sweeps: one computes the norms, one
    updates. The norms are those of each array, summed in float64 in a fixed order. :meth:`step_rows`
    is an error. Defaults are the paper's, which schedules lr.

    Elsewhere under this name: optax divides by ``norm(g + weight_decay * p)``, and has a weight decay
    of 0 by default.

    References
    ----------
    You, Gitman & Ginsburg 2017, Algorithm 1, https://arxiv.org/abs/1708.03888
    """

    rule = "lars"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1.0,
        momentum: Fraction = 0.9,
        weight_decay: NonNegative = 5e-4,
        trust_coefficient: NonNegative = 1e-3,
        trust_ratio: Flag = True,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
