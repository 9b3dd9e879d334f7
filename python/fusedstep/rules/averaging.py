"""Rules that average the parameters over the steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fusedstep._options import Betas, Flag, LearningRate, NonNegative
from fusedstep._state import decoded_parameter
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from fusedstep._pipeline import Pipeline
    from fusedstep.typing import Params

__all__ = ["ASGD", "ScheduleFreeAdamW"]

_IN_EVAL = "after eval(), while the parameters hold the averages: call train() first"


class ASGD(Optimizer):
    """Gradient descent with a decreasing rate, and the average of its iterates::

        p   = p * (1 - lambd * eta) - eta * g
        ax  = ax + mu * (p - ax)
        eta = lr / (1 + lambd * lr * (t - 1))**alpha,    mu = 1 / max(1, t - 1 - t0)

    The average ``ax`` is what is to be evaluated: ``opt.state["w"]["ax"]``. It begins after `t0` steps;
    until then it equals the parameter.

    Parameters
    ----------
    lr
        The first learning rate, which `lambd` and `alpha` then lower.
    lambd
        Decay of the weights, and of the learning rate.
    alpha
        The power with which the learning rate falls.
    t0
        After how many steps the average begins.

    Notes
    -----
    State: ``ax``. Formula and defaults are those of ``torch.optim.ASGD``.

    Elsewhere under this name: torch keeps eta and mu in its state (in float32), so that a change of
    lr takes effect one step later than here.

    References
    ----------
    Polyak & Juditsky 1992, https://doi.org/10.1137/0330046
    Bottou 2010, "Large-Scale Machine Learning with Stochastic Gradient Descent"
    """

    rule = "asgd"

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 1e-2,
        lambd: NonNegative = 1e-4,
        alpha: NonNegative = 0.75,
        t0: NonNegative = 1e6,
        weight_decay: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())


class ScheduleFreeAdamW(Optimizer):
    """Adam that averages its iterates instead of following a learning-rate schedule::

        v = beta2 * v + (1 - beta2) * g * g
        d = g / (sqrt(v / (1 - beta2**t)) + eps) + weight_decay * y
        z = z - lr' * d
        x = (1 - c) * x + c * z,    c = lr'**2 / (the sum of lr'**2 of all steps so far)
        y = (1 - beta1) * z + beta1 * x

    with ``lr' = lr * min(1, t / warmup_steps)``. The parameters hold ``y``, where gradients are
    computed; ``x`` is to be evaluated: :meth:`eval` writes it to the parameters and :meth:`train`
    restores ``y``.

    Parameters
    ----------
    lr
        Learning rate: how far a step goes. Meant to be constant.
    betas
        beta1, above 0: how near to the average ``x`` the gradients are computed. beta2: how much of
        itself the average of the squared gradients keeps at each step.
    weight_decay
        How strongly the weights are pulled towards 0, in proportion to the learning rate; the decay
        is that of ``y`` and does not pass through ``v``.
    warmup_steps
        Over how many steps the learning rate rises to `lr`; 0 for none.

    Notes
    -----
    State: ``z``, which starts at the parameters that are passed in, ``exp_avg_sq`` (v). ``y`` is
    computed without ``x``, as in the authors' code, whose formula and defaults these are.

    ``beta1`` is fixed: another one would read another ``x`` off ``y`` and ``z``. A state that is
    loaded brings its own.

    ``c`` is computed from the counter and `warmup_steps`, and assumes a constant `lr`, as the
    method is meant to be used without a schedule.

    Elsewhere under this name: the authors' code sums the rates of past steps; here its ``r`` is 0
    and its ``weight_lr_power`` 2. optax's warm-up starts at a rate of 0.

    References
    ----------
    Defazio et al. 2024, https://arxiv.org/abs/2405.15682
    https://github.com/facebookresearch/schedule_free
    """

    rule = "schedulefreeadamw"
    starts_at_parameter: ClassVar[tuple[str, ...]] = ("z",)

    def __init__(
        self,
        params: Params,
        lr: LearningRate = 2.5e-3,
        betas: Betas = (0.9, 0.999),
        eps: NonNegative = 1e-8,
        weight_decay: NonNegative = 0.0,
        warmup_steps: NonNegative = 0.0,
        maximize: Flag = False,
        **pipeline: Unpack[Pipeline],
    ) -> None:
        self._construct(params, locals())

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        if values["betas"][0] == 0.0:
            raise ValueError(
                "betas[0]: expected a number > 0, without which the average cannot be read off "
                f"the parameters, got {values['betas'][0]!r}"
            )

    @staticmethod
    def formed_with(values: Mapping[str, Any]) -> object:
        """``beta1``: with another, another ``x`` would be read off ``y`` and ``z``."""
        return values["betas"][0]

    def eval(self) -> None:
        """Write the averages ``x`` to the parameters, to evaluate or save them.

        It waits for a step that another thread is making, and writes all parameters or none, as
        :meth:`train` does. A copy of ``y`` is kept. Steps, state_dict, load_state_dict and
        add_group raise RuntimeError until :meth:`train`. Working copies do not change: they remain
        copies of ``y``. A second call changes nothing.

        Raises
        ------
        RuntimeError
            Within ``ema.swapped_in()``.
        """
        if not self._in_eval():
            self._engine.swap_in("call eval()", _IN_EVAL, self._averages)()

    def _averages(self, steps: Sequence[int]) -> list[Any]:  # noqa: ARG002
        """The ``x`` of each parameter: new arrays."""
        engine = self._engine
        space, tree, averages = engine.space, engine.tree, []
        for i, (leaf, state) in enumerate(zip(tree.leaves, engine.buffers, strict=True)):
            beta1 = engine.groups[tree.group_of[i]]["betas"][0]
            y, z = decoded_parameter(engine, i), space.to_numpy(state["z"])
            x = y + y.dtype.type(1.0 - 1.0 / beta1) * (z - y)
            averages.append(space.as_parameter(space.like(np.asarray(x), state["z"]), leaf))
        return averages

    def train(self) -> None:
        """Restore ``y`` in the parameters, bit for bit. A second call changes nothing."""
        if self._in_eval():
            self._engine.core.swap_out()

    def _in_eval(self) -> bool:
        return self._engine.core.swapped() == _IN_EVAL

    def _check_unswapped(self, what: str) -> None:
        if self._in_eval():
            raise RuntimeError(f"cannot call {what}() {_IN_EVAL}")
