"""The benchmark's picture: nanoseconds per parameter, by size."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import fusedstep as fs
from fusedstep._cli.figures import blank_figure, to_png
from fusedstep._cli.measurement import OURS, ROOFLINE, Benchmark

__all__ = ["render"]

# Colour-blind safe colours (Okabe & Ito 2008); the markers distinguish the lines in greyscale.
STYLES: dict[str, dict[str, Any]] = {
    "NumPy textbook": {"color": "#7F7F7F", "marker": "o"},
    "NumPy in place": {"color": "#E69F00", "marker": "s"},
    OURS: {"color": "#D55E00", "marker": "D", "linewidth": 3},
    "torch": {"color": "#0072B2", "marker": "^", "markersize": 11, "markerfacecolor": "none"},
    ROOFLINE: {"color": "black", "linestyle": "--", "linewidth": 1.2, "marker": "_"},
}


def short(size: float, _: object = None) -> str:
    """1,500,000 as 1.5M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:g}{letter}"
    return f"{size:g}"


def draw(ax: Axes, result: Benchmark) -> None:
    """One line per contestant, drawn in an order in which none covers another."""
    sizes = [timing.parameters for timing in result.timings]
    for key, style in STYLES.items():
        for name in result.contestants:
            if name.startswith(key):
                label = "roofline: the same streams, one addition" if name == ROOFLINE else name
                times = [timing.nanoseconds(name) for timing in result.timings]
                ax.loglog(sizes, times, label=label, **style)
    disturbed = [timing.parameters for timing in result.timings if timing.disturbed]
    for i, size in enumerate(disturbed):
        name = "" if i else "disturbed by other programs"  # one legend entry for all
        ax.axvspan(size / 1.3, size * 1.3, color="0.85", zorder=0, label=name)
    ax.xaxis.set_major_formatter(FuncFormatter(short))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("parameters")
    ax.set_ylabel("ns per parameter (lower is better)")
    ax.grid(color="0.9")
    ax.spines[["top", "right"]].set_visible(False)


def render(result: Benchmark) -> bytes:
    """Draw the picture and return it as PNG."""
    figure = blank_figure(8, 6)
    ax = figure.subplots()
    draw(ax, result)
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    ax.set_title(f"One step of {result.rule}: {result.dtype}, {threads}, {fs.isa()}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return to_png(figure)
