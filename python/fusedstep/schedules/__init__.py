"""Learning-rate schedules: callables ``step -> lr``, to be passed as ``lr``.

``step`` is the number of *completed* steps: 0 for the first step, as in torch's ``LambdaLR`` and in
optax. Steps are optimizer steps (batches), never epochs. A schedule is a function of ``step``
alone, so to resume a run only its step count has to be saved, and schedules compare, hash, print
and pickle by their parameters. :class:`Plateau` alone is told how the run goes, and has a state.

Any other callable from the step to a rate is as good: a function of your own, or one of optax
(``fs.Adam(params, lr=optax.cosine_decay_schedule(0.1, 1000))``).

Rates are Python floats, computed in double precision. ``cos`` and ``pow`` come from the platform's
libm, so the last bit of a rate may differ between platforms; with the same rate, a step has the
same bits.

==================================  ==============================================================
:class:`Constant`                   the same rate at every step
:class:`Step`, :class:`MultiStep`   drops every so many steps, or at given ones
:class:`Exponential`                a factor every step
:class:`InverseSquareRoot`          warm-up, then ``1 / sqrt(step)``
:class:`Cosine`, :class:`Linear`    warm-up, then half a cosine or a line down
:class:`Polynomial`                 warm-up, then a power of what is left of the run
:class:`WarmupStableDecay`          warm-up, a constant rate, and a decay at the end
:class:`OneCycle`                   half a cosine up, and one down
:class:`CosineRestarts`             half a cosine down, again and again
:class:`Warmup`, :class:`Join`      a warm-up before any schedule; any schedules one after another
:class:`Plateau`                    drops when a metric no longer improves
==================================  ==============================================================

Examples
--------
>>> schedule = Cosine(lr=1e-3, total_steps=100, warmup_steps=10)
>>> [schedule(step) for step in (0, 5, 10, 55, 100)]
[0.0, 0.0005, 0.001, 0.0005, 0.0]
"""

from fusedstep.schedules.cycles import CosineRestarts, OneCycle
from fusedstep.schedules.decays import Cosine, Linear, Polynomial, WarmupStableDecay
from fusedstep.schedules.joined import Join, Warmup
from fusedstep.schedules.plateau import Plateau
from fusedstep.schedules.steps import Constant, Exponential, InverseSquareRoot, MultiStep, Step

__all__ = [
    "Constant",
    "Cosine",
    "CosineRestarts",
    "Exponential",
    "InverseSquareRoot",
    "Join",
    "Linear",
    "MultiStep",
    "OneCycle",
    "Plateau",
    "Polynomial",
    "Step",
    "Warmup",
    "WarmupStableDecay",
]


def __dir__() -> list[str]:
    return sorted(__all__)
