"""Rules that divide by the root of the squared gradients, summed or averaged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusedstep._options import Flag, Fraction, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["Adadelta", "Adagrad", "RMSprop", "RowwiseAdagrad"]


class Adagrad(Optimizer):
    """Steps shrink with the sum of the squared gradients so far::

        sum = sum + g * g                    (from initial_accumulator_value)
        p   = p - lr_t * g / (sqrt(sum) + eps),    lr_t = lr / (1 + (t - 1) * lr_decay)

    Parameters
    ----------
    lr_decay
        How quickly the learning rate falls with the steps, beside the sum: at 0.01 it is halved after
        100 steps. At 0 it stays.
    initial_accumulator_value
        Where the sum starts. Above 0 it makes the first steps smaller.

    Notes
    -----
    State: ``sum``. With `eps_inside_sqrt` the root is ``sqrt(sum + eps)``. Formula and defaults are
    those of ``torch.optim.Adagrad``.

    Elsewhere under this name: Keras and optax start the sum at 0.1 and put their eps, 1e-7, inside
    the root. Lectures that call the summed form "RMSProp" mean
    ``Adagrad(eps=1e-8, eps_inside_sqrt=True)``.

    References
    ----------
    Duchi, Hazan & Singer 2011, https://jmlr.org/papers/v12/duchi11a.html
    """

    rule = "adagrad"

    def __init__(
        self,
        params: Params,
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
    Adagrad's, bit for bit), and a 0-d array is one row. Rows must be in C order.

    Notes
    -----
    State: ``sum``, of shape ``(rows,)`` and the parameter's dtype. :meth:`step_rows` changes only the
    sums of the given rows. With `eps_inside_sqrt` the root is ``sqrt(sum + eps)``. The squares of a
    row are summed in float64 in a fixed order and their mean is rounded once. Formula and defaults are
    those of DLRM's ``RWSAdagrad`` for sparse gradients.

    Elsewhere under this name: FBGEMM's ``EXACT_ROWWISE_ADAGRAD``, the fused optimizer of torchrec's
    tables, multiplies by ``lr / (sqrt(sum) + eps)``: the same but for rounding.
    ``torchrec.optim.RowWiseAdagrad`` is another rule: it squares the mean of a row's gradient, and
    moves the whole row by that mean.

    References
    ----------
    DLRM, https://github.com/facebookresearch/dlrm/blob/main/optim/rwsadagrad.py
    """

    rule = "rowwiseadagrad"


class RMSprop(Optimizer):
    """Divides by the root of the moving average of the squared gradients::

        v   = alpha * v + (1 - alpha) * g * g
        a   = alpha * a + (1 - alpha) * g;  v' = max(v - a * a, 0)     (centered; else v' = v)
        d   = g / (sqrt(v') + eps)
        buf = momentum * buf + d;  d = buf                             (where momentum > 0)
        p   = p - lr * d

    Parameters
    ----------
    alpha
        How much of themselves the moving averages keep at each step: at 0.99 they reach back about
        100 gradients.
    momentum
        How much of the last step is repeated in the next: 0 for none, often 0.9.
    centered
        Divide by the standard deviation of the gradients, not by their root mean square.

    Notes
    -----
    State: ``square_avg`` (v), with `centered` ``grad_avg`` (a), with `momentum` ``momentum_buffer``.
    With `eps_inside_sqrt` the root is ``sqrt(v' + eps)``. Formula and defaults are those of
    ``torch.optim.RMSprop``.

    Elsewhere under this name: TensorFlow, Keras and optax put eps inside the root, and their alpha,
    there ``rho`` or ``decay``, is 0.9. With momentum they keep the steps themselves,
    ``buf = momentum * buf + lr * d`` and ``p = p - buf``: the same at a constant lr, but after a change
    of lr the steps before it keep their length there, and take the new one here and in torch. torch
    does not clamp the centered variance, which rounding can bring below 0 (a NaN there).

    References
    ----------
    Tieleman & Hinton 2012, Coursera lecture 6.5
    Graves 2013 (centered), https://arxiv.org/abs/1308.0850
    """

    rule = "rmsprop"

    def __init__(
        self,
        params: Params,
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

    Parameters
    ----------
    lr
        Factor of each step, 1 in the paper.
    rho
        How much of themselves both moving averages keep at each step: at 0.9 they reach back about 10
        steps.
    eps
        Added inside both roots. It also decides how large the first steps are.

    Notes
    -----
    State: ``square_avg`` (v), ``acc_delta`` (a). Formula and defaults are those of
    ``torch.optim.Adadelta``. Computed with the root of the quotient, ``sqrt((a + eps) / (v + eps))``.

    Elsewhere under this name: the paper has no learning rate (here 1), and rho 0.95; Keras
    defaults to lr 1e-3, with rho 0.95 and eps 1e-7.

    References
    ----------
    Zeiler 2012, Algorithm 1, https://arxiv.org/abs/1212.5701
    """

    rule = "adadelta"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1.0,
        rho: Fraction = 0.9,
        eps: NonNegative = 1e-6,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
