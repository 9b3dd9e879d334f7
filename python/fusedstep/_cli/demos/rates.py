"""The effective learning rate: why accumulated squares starve, and RMSprop does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fusedstep.gallery import LECTURE, blank_figure, label_lines, styles_of
from fusedstep.gallery._style import tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusedstep._cli.demos import Numbers

__all__ = ["N_UNITS", "UNIT", "compute", "draw", "report"]

UPDATES = 1000
UNIT, N_UNITS = "update", 2 * UPDATES
LR, GRADIENT = 0.1, 1.0
# What each divides by: the lecture's L6 and L7.
LABELS = {"Adagrad": "Adagrad: sum of squares", "RMSprop": "RMSprop: average of squares"}


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """What a parameter moves by, update by update, while its gradient stays the same."""
    del seed  # nothing is left to chance
    rates: dict[str, list[float]] = {}
    for name in LABELS:
        rates[name] = []
        w, before = np.zeros(1), 0.0
        opt = LECTURE[name](w, lr=LR)
        for _ in range(UPDATES):
            opt.step(np.full(1, GRADIENT))
            rates[name].append((before - float(w[0])) / GRADIENT)
            before = float(w[0])
            advance()
    return {"learning_rate": LR, "gradient": GRADIENT, "effective_rates": rates}


def draw(numbers: Numbers) -> Figure:
    """The rates on the left, and how far they bring a parameter on the right."""
    figure = blank_figure(9, 4.2)
    left, right = figure.subplots(1, 2)
    styles = styles_of(numbers["effective_rates"])
    for name, rates in numbers["effective_rates"].items():
        t, colour = np.arange(1, len(rates) + 1), styles[name]["color"]
        left.loglog(t, rates, color=colour, linewidth=2.5, label=LABELS[name])
        way = np.cumsum(rates) * numbers["gradient"]
        right.plot(t, way, color=colour, linewidth=2.5, label=LABELS[name])
    lr = numbers["learning_rate"]
    left.set(
        title="Effective learning rate",
        xlabel="update t",
        ylabel=f"step / gradient, at a learning rate of {lr:g}",
        ylim=(lr / 100, lr * 10),
    )
    right.set(title="How far the parameter has come", xlabel="update t", ylabel="distance")
    for ax in (left, right):
        tidy(ax)
        label_lines(ax)
    return figure


def report(numbers: Numbers) -> str:
    """The rates after 1, 10, 100, ... updates."""
    every = numbers["effective_rates"]
    lines = [
        f"Step / gradient, for a constant gradient; learning rate {numbers['learning_rate']:g}.",
        "",
        f"{'update':>8}" + "".join(f"{name:>12}" for name in every),
    ]
    n = min(map(len, every.values()))
    for t in (10**k for k in range(len(str(n)))):
        lines.append(f"{t:>8,}" + "".join(f"{rates[t - 1]:>12.5f}" for rates in every.values()))
    distances = "".join(f"{sum(rates) * numbers['gradient']:>12.2f}" for rates in every.values())
    return "\n".join([*lines, f"{'distance':>8}{distances}"])
