r"""The rules. Each docstring gives formula, defaults with their origin, state and source.

Common to all: :math:`g` is the gradient, negated where ``maximize``; where a rule has no decoupled
decay, ``weight_decay`` > 0 adds ``weight_decay * p`` to it (torch's coupled, L2 decay; negative
values are refused). Arithmetic is in the dtype of the parameter, float32 or float64; scalars such
as bias corrections are computed in float64 from an int64 counter and rounded once. State arrays
have the shape, dtype and memory order of their parameter and start at 0. What constructors and
steps raise stands at :class:`~fusedstep.optimizer.Optimizer`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fusedstep.optimizer import Optimizer
from fusedstep.options import Betas, Flag, Fraction, LearningRate, NonNegative

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Momentum", "RMSprop"]


class SGD(Optimizer):
    """Gradient descent, with momentum on request::

        buf = g                                         (first step)
        buf = momentum * buf + (1 - dampening) * g      (later steps)
        d   = g + momentum * buf if nesterov, else buf
        p   = p - lr * d

    Without momentum ``d = g``, and there is no state; else ``momentum_buffer``.
    Formula and defaults as ``torch.optim.SGD`` (lr 1e-3, all else 0).

    Elsewhere under this name: MLX starts ``buf`` at 0 and applies the dampening at the first step
    too; Keras multiplies by ``lr`` before the momentum (``buf = momentum * buf - lr * g``), which
    differs once ``lr`` changes. See :class:`Momentum` for the averaged form.

    Source: Robbins & Monro 1951; Polyak 1964; Nesterov 1983, in the form of Sutskever et al. 2013.
    """

    rule = "sgd"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-3,
        momentum: Fraction = 0.0,
        dampening: Fraction = 0.0,
        weight_decay: NonNegative = 0.0,
        nesterov: Flag = False,
        maximize: Flag = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
        )

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        if values["nesterov"] and (values["momentum"] == 0 or values["dampening"] != 0):
            raise ValueError(
                "nesterov: expected momentum > 0 and dampening = 0 with it, "
                f"came momentum={values['momentum']}, dampening={values['dampening']}"
            )


class Momentum(Optimizer):
    """Momentum as the exponential moving average of the gradients, from 0::

        buf = beta * buf + (1 - beta) * g
        p   = p - lr * buf

    State: ``momentum_buffer``. Defaults: beta 0.9 (the usual value, about the last ten
    gradients), lr 1e-2.

    Elsewhere: ``SGD(momentum=beta, dampening=beta)``, here and in torch, is the same but for its
    first step, which it takes with the whole gradient; ``SGD(momentum=beta)`` moves
    ``1 / (1 - beta)`` times as far.

    Source: Polyak 1964 in its averaged form; there is no bias correction (see :class:`Adam`).
    """

    rule = "momentum"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-2,
        beta: Fraction = 0.9,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
    ) -> None:
        super().__init__(
            params, {"lr": lr, "beta": beta, "weight_decay": weight_decay, "maximize": maximize}
        )


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
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "eps": eps,
                "eps_inside_sqrt": eps_inside_sqrt,
                "maximize": maximize,
            },
        )

    @staticmethod
    def initial_state(values: Mapping[str, Any]) -> Mapping[str, float]:
        """Start the sum at ``initial_accumulator_value``."""
        return {"sum": values["initial_accumulator_value"]}


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
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "alpha": alpha,
                "eps": eps,
                "weight_decay": weight_decay,
                "momentum": momentum,
                "centered": centered,
                "eps_inside_sqrt": eps_inside_sqrt,
                "maximize": maximize,
            },
        )


class Adam(Optimizer):
    """Both moments of the gradient, corrected for their start at 0::

        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        w = max(w, v)                                  (amsgrad; else w = v)
        p = p - lr * (m / c1) / (sqrt(w / c2) + eps),  c1 = 1 - beta1**t, c2 = 1 - beta2**t

    With ``eps_inside_sqrt`` the root is ``sqrt(w / c2 + eps)``. State: ``exp_avg`` (m),
    ``exp_avg_sq`` (v), with amsgrad ``max_exp_avg_sq`` (w). Defaults are the paper's and torch's:
    lr 1e-3, betas (0.9, 0.999), eps 1e-8.

    Computed as ``p - s * m / (sqrt(w) + e)`` with ``s = lr * sqrt(c2) / c1`` and
    ``e = eps * sqrt(c2)`` (inside the root ``eps * c2``): the same formula with one division.

    Elsewhere under this name: Keras and Thinc use the paper's "epsilon hat", ``e = eps`` at every
    step, which acts like an eps 31.6 times larger at t = 1. amsgrad takes the maximum of v before
    its correction, as torch does; old versions of optax took it after.

    Source: Kingma & Ba 2015, Algorithm 1, https://arxiv.org/abs/1412.6980; amsgrad: Reddi, Kale &
    Kumar 2018, https://arxiv.org/abs/1904.09237
    """

    rule = "adam"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        amsgrad: Flag = False,
        eps_inside_sqrt: Flag = False,
        maximize: Flag = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "eps_inside_sqrt": eps_inside_sqrt,
                "maximize": maximize,
            },
        )


class AdamW(Adam):
    """Adam with decoupled weight decay: the weights shrink first, then :class:`Adam` steps::

        p = p * (1 - lr * weight_decay)

    The decay does not pass through the moments. State: ``exp_avg``, ``exp_avg_sq``, with amsgrad
    ``max_exp_avg_sq``. Defaults as ``torch.optim.AdamW``: those of Adam, weight_decay 1e-2.

    Elsewhere under this name: Thinc decays after the update, which gives another result; the
    paper's decay is multiplied by a schedule but not by the base learning rate.

    Source: Loshchilov & Hutter 2019, https://arxiv.org/abs/1711.05101
    """

    rule = "adamw"

    def __init__(
        self,
        params: object,
        lr: LearningRate = 1e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 1e-2,
        amsgrad: Flag = False,
        eps_inside_sqrt: Flag = False,
        maximize: Flag = False,
    ) -> None:
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, eps_inside_sqrt, maximize)
