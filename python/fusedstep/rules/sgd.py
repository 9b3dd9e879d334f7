"""Gradient descent, with and without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusedstep._options import Flag, Fraction, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline

__all__ = ["SGD", "Momentum"]


class SGD(Optimizer):
    """Gradient descent, optionally with momentum::

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
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        if values["nesterov"] and (values["momentum"] == 0 or values["dampening"] != 0):
            raise ValueError(
                "nesterov: expected momentum > 0 and dampening = 0 with it, "
                f"got momentum={values['momentum']}, dampening={values['dampening']}"
            )


class Momentum(Optimizer):
    """Gradient descent along the exponential moving average of the gradients, which starts at 0::

        buf = beta * buf + (1 - beta) * g
        p   = p - lr * buf

    State: ``momentum_buffer``. Defaults: beta 0.9 (the usual value, about the last ten
    gradients), lr 1e-2.

    Elsewhere: ``SGD(momentum=beta, dampening=beta)``, here and in torch, differs only in the first
    step, which uses the gradient itself; ``SGD(momentum=beta)`` moves ``1 / (1 - beta)`` times as
    far.

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
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
