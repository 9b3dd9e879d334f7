"""Exponential moving averages of a noisy series."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

import fusedstep as fs
from fusedstep.gallery import COLOURS, blank_figure, label_lines
from fusedstep.gallery._style import tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusedstep._cli.demos import Numbers

__all__ = ["N_UNITS", "UNIT", "compute", "draw", "report"]

UNIT, N_UNITS = "value", 150
BETAS = (0.5, 0.9, 0.98)
STYLES = dict(zip(BETAS, ("sky", "blue", "vermilion"), strict=True))


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """A wave with noise, which begins with the lecture's 0.1, and its averages."""
    noise = np.random.default_rng(seed).normal(0, 0.03, N_UNITS)
    noise[0] = 0
    series = 0.1 + 0.04 * np.sin(np.arange(N_UNITS) * 2 * np.pi / 100) + noise
    value = np.zeros(1)
    averages = {
        (beta, corrected): fs.EMA({"x": value}, decay=beta, bias_correction=corrected)
        for beta in BETAS
        for corrected in (False, True)
    }
    read: dict[tuple[float, bool], list[float]] = {key: [] for key in averages}
    for value[0] in series:
        for key, average in averages.items():
            average.update()
            read[key].append(float(average["x"][0]))
        advance()
    return {
        "seed": seed,
        "betas": BETAS,
        "series": series.tolist(),
        "averages": {str(beta): read[beta, False] for beta in BETAS},
        "bias_corrected": {str(beta): read[beta, True] for beta in BETAS},
    }


def draw(numbers: Numbers) -> Figure:
    """The averages as they are on the left, corrected on the right."""
    figure = blank_figure(9, 4.2)
    axes = figure.subplots(1, 2, sharey=True)
    titles = (
        "As they are: pulled towards their start at 0",
        "Divided by $1 - β^t$: right from the start",
    )
    for ax, key, title in zip(axes, ("averages", "bias_corrected"), titles, strict=True):
        t = np.arange(1, len(numbers["series"]) + 1)
        ax.plot(t, numbers["series"], "o", color="0.8", markersize=3)
        for beta, values in numbers[key].items():
            colour = COLOURS[STYLES[float(beta)]]
            ax.plot(t, values, color=colour, linewidth=2, label=f"β = {beta}")
        ax.set(title=title, xlabel="t", xlim=(0, len(t) + 1))
        ax.set_ylim(bottom=min(0, *numbers["series"]) - 0.005)
        tidy(ax)
    axes[0].set_ylabel("v, the average of the dots")
    for ax in axes:
        label_lines(ax)
    return figure


def report(numbers: Numbers) -> str:
    """The first and the last averages."""
    first, last = numbers["series"][0], numbers["series"][-1]
    lines = [
        f"Averages v = β v + (1 - β) x of {len(numbers['series'])} values; seed {numbers['seed']}.",
        f"The first value is {first:g}, the last one {last:.4f}.",
        "",
        f"{'β':<6}{'reaches back':>14}{'first v':>10}{'corrected':>12}{'last v':>10}{'corrected':>12}",
    ]
    for beta, values in numbers["averages"].items():
        corrected = numbers["bias_corrected"][beta]
        lines.append(
            f"{beta:<6}{1 / (1 - float(beta)):>14.0f}{values[0]:>10.4f}{corrected[0]:>12.4f}"
            f"{values[-1]:>10.4f}{corrected[-1]:>12.4f}"
        )
    return "\n".join(lines)
