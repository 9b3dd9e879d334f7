"""A saddle point: down on both sides, and flat where the paths arrive."""

from __future__ import annotations

from fusedstep._cli.demos._descent import Descent
from fusedstep.gallery import SADDLE

__all__ = ["N_UNITS", "UNIT", "animate", "compute", "draw", "report"]

descent = Descent(
    SADDLE,
    # SGD's is about the largest that does not diverge across, 2 / 4; Momentum bears a larger one.
    # The three that scale share one.
    {"SGD": 0.4, "Momentum": 2, "Adagrad": 0.1, "RMSprop": 0.1, "Adam": 0.1},
    updates=36,
    title="SGD rests on the saddle, Momentum leaves it late, rules that scale each coordinate go by",
)
UNIT, N_UNITS = "update", descent.n_units
compute, draw, animate, report = descent.compute, descent.draw, descent.animate, descent.report
