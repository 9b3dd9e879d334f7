"""A ravine: a hundred times as steep across as along."""

from __future__ import annotations

from fusedstep._cli.demos._descent import Descent
from fusedstep.gallery import RAVINE

__all__ = ["N_UNITS", "UNIT", "animate", "compute", "draw", "report"]

descent = Descent(
    RAVINE,
    # SGD's is about the largest that does not diverge across the ravine, 2 / 19.
    # The three that scale share one.
    {"SGD": 0.1, "Momentum": 0.25, "Adagrad": 0.1, "RMSprop": 0.1, "Adam": 0.1},
    updates=40,
    title="SGD zig-zags, Momentum swings, Adagrad starves, RMSprop and Adam go straight",
)
UNIT, N_UNITS = "update", descent.n_units
compute, draw, animate, report = descent.compute, descent.draw, descent.animate, descent.report
