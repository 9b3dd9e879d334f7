"""Gradient descent, with and without momentum."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fusedstep._options import Flag, Fraction, LearningRate, NonNegative
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["SGD", "Momentum"]


class SGD(Optimizer):
    """Gradient descent, optionally with momentum::

        buf = g                                         (first step)
        buf = momentum * buf + (1 - dampening) * g      (later steps)
        d   = g + momentum * buf if nesterov, else buf
        p   = p - lr * d

    Parameters
    ----------
    momentum
        How much of the last step is repeated in the next: 0 for none, often 0.9.
    dampening
        How much of the gradient is left out of the momentum: at the value of `momentum`, ``buf`` is
        an average of the gradients, at 0 a fading sum of them.
    nesterov
        Nesterov's momentum, which looks one step ahead; it needs `momentum`, without `dampening`.

    Notes
    -----
    State: ``momentum_buffer`` (buf); without `momentum` ``d = g``, and there is none. Formula and
    defaults are those of ``torch.optim.SGD``.

    Elsewhere under this name: MLX starts ``buf`` at 0 and applies the dampening at the first step
    too; Keras multiplies by ``lr`` before the momentum (``buf = momentum * buf - lr * g``), which
    differs once ``lr`` changes. See :class:`Momentum` for the averaged form.

    References
    ----------
    Robbins & Monro 1951; Polyak 1964; Nesterov 1983, in the form of Sutskever et al. 2013
    """

    rule = "sgd"

    def __init__(
        self,
        params: Params,
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

    Parameters
    ----------
    beta
        How much of itself the average keeps at each step: at 0.9 it reaches back about 10 gradients.

    Notes
    -----
    State: ``momentum_buffer`` (buf). There is no correction for the start at 0 (see :class:`Adam`).
    The defaults are the usual values.

    Elsewhere under this name: ``SGD(momentum=beta, dampening=beta)``, here and in torch, differs only
    in the first step, which uses the gradient itself; ``SGD(momentum=beta)`` moves
    ``1 / (1 - beta)`` times as far.

    References
    ----------
    Polyak 1964, in its averaged form
    """

    rule = "momentum"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-2,
        beta: Fraction = 0.9,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())
