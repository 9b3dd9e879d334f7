"""A plateau: a gradient of about 0.01, and a well at its end."""

from __future__ import annotations

from fusedstep._cli.demos._descent import Descent
from fusedstep.gallery import PLATEAU

__all__ = ["N_UNITS", "UNIT", "animate", "compute", "draw", "report"]

descent = Descent(
    PLATEAU,
    # SGD's and Momentum's are as large as the well, whose curvature is 1, lets them settle in it.
    # The three that scale share one.
    {"SGD": 1, "Momentum": 1, "Adagrad": 0.1, "RMSprop": 0.1, "Adam": 0.1},
    updates=46,
    title="SGD and Momentum rest, Adagrad starves, RMSprop and Adam cross the plateau",
)
UNIT, N_UNITS = "update", descent.n_units
compute, draw, animate, report = descent.compute, descent.draw, descent.animate, descent.report
