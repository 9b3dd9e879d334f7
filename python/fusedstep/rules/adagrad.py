"""Rules that divide by the root of the squared gradients, summed or averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusedstep._options import Flag, Fraction, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline

__all__ = ["Adadelta", "Adagrad", "RMSprop", "RowwiseAdagrad"]


class Adagrad(Optimizer):
    """Steps shrink with the sum of the squared gradients so far::

        sum = sum + g * g                    (from initial_accumulator_value)
        p   = p - lr_t * g / (sqrt(sum) + eps),    lr_t = lr / (1 + (t - 1) * lr_decay)

    With ``eps_inside_sqrt`` the root is ``sqrt(sum + eps)``. State: ``sum``. Formula and defaults
    as ``torch.optim.Adagrad``: lr 1e-2, eps 1e-10, start at 0.

    Elsewhere under this name: Keras and optax start the sum at 0.1 and put their eps, 1e-7,
    inside the root. Lectures that call the summed form "RMSProp" mean
    ``Adagrad(eps=1e-8, eps_inside_sqrt=True)``.

    Source: Duchi, Hazan & Singer 2011, https://jmlr.org/papers/v12/duchi11a.html
    """

    rule = "adagrad"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-2,
        lr_decay: NonNegative = 0.0,
        weight_decay: NonNegative = 0.0,
        initial_accumulator_value: NonNegative = 0.0,
        eps: NonNegative = 1e-10,
        eps_inside_sqrt: Flag = False,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())

    @staticmethod
    def initial_state(values: Mapping[str, Any]) -> Mapping[str, float]:
        """Start the sum at ``initial_accumulator_value``."""
        return {"sum": values["initial_accumulator_value"]}


class RowwiseAdagrad(Adagrad):
    """Adagrad with one sum per row, for embedding tables: the state of a table is one column::

        sum[i] = sum[i] + mean(g[i] * g[i])  (from initial_accumulator_value)
        p[i]   = p[i] - lr_t * g[i] / (sqrt(sum[i]) + eps),    lr_t = lr / (1 + (t - 1) * lr_decay)

    Row i is ``p[i]``, whatever its shape: the rows of a 1-d array are single numbers (the result is
    Adagrad's, bit for bit), and a 0-d array is one row. Rows must be in C order. With
    ``eps_inside_sqrt`` the root is ``sqrt(sum + eps)``. g is the gradient after clipping and
    coupled decay. Its squares are summed in float64 in a fixed order and their mean is rounded
    once. :meth:`step_rows` changes only the sums of the given rows. State: ``sum``, of shape
    ``(rows,)`` and the parameter's dtype. Formula and defaults as DLRM's ``RWSAdagrad`` has them
    for sparse gradients: lr 1e-2, eps 1e-10, start at 0.

    Elsewhere under this name: FBGEMM's ``EXACT_ROWWISE_ADAGRAD``, the fused optimizer of torchrec's
    tables, multiplies by ``lr / (sqrt(sum) + eps)``: the same but for rounding.
    ``torchrec.optim.RowWiseAdagrad`` is another rule: it squares the mean of a row's gradient, and
    moves the whole row by that mean.

    Source: DLRM, https://github.com/facebookresearch/dlrm/blob/main/optim/rwsadagrad.py
    """

    rule = "rowwiseadagrad"


class RMSprop(Optimizer):
    """Divides by the root of the moving average of the squared gradients::

        v   = alpha * v + (1 - alpha) * g * g
        a   = alpha * a + (1 - alpha) * g;  v' = max(v - a * a, 0)     (centered; else v' = v)
        d   = g / (sqrt(v') + eps)
        buf = momentum * buf + d;  d = buf                             (where momentum > 0)
        p   = p - lr * d

    With ``eps_inside_sqrt`` the root is ``sqrt(v' + eps)``. State: ``square_avg`` (v), with
    centered ``grad_avg`` (a), with momentum ``momentum_buffer``. Formula and defaults as
    ``torch.optim.RMSprop``: lr 1e-2, alpha 0.99, eps 1e-8.

    Elsewhere under this name: TensorFlow, Keras and optax put eps inside the root. torch does not
    clamp the centered variance, which rounding can bring below 0 (a NaN there).

    Source: Tieleman & Hinton 2012, Coursera lecture 6.5; centered: Graves 2013,
    https://arxiv.org/abs/1308.0850
    """

    rule = "rmsprop"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-2,
        alpha: Fraction = 0.99,
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        momentum: Fraction = 0.0,
        centered: Flag = False,
        eps_inside_sqrt: Flag = False,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class Adadelta(Optimizer):
    """Steps in the units of the parameter: earlier steps over earlier gradients::

        v = rho * v + (1 - rho) * g * g
        d = sqrt(a + eps) / sqrt(v + eps) * g
        a = rho * a + (1 - rho) * d * d
        p = p - lr * d

    State: ``square_avg`` (v), ``acc_delta`` (a). Formula and defaults as ``torch.optim.Adadelta``:
    lr 1, rho 0.9, eps 1e-6. Computed with the root of the quotient,
    ``sqrt((a + eps) / (v + eps))``.

    Elsewhere under this name: the paper has no learning rate (here 1), and rho 0.95; Keras
    defaults to lr 1e-3, with rho 0.95 and eps 1e-7.

    Source: Zeiler 2012, Algorithm 1, https://arxiv.org/abs/1212.5701
    """

    rule = "adadelta"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1.0,
        rho: Fraction = 0.9,
        eps: NonNegative = 1e-6,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
