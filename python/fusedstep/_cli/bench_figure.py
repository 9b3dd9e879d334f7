"""The benchmark's picture: nanoseconds per parameter, by size."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

import fusedstep as fs
from fusedstep._bench.contestants import OURS
from fusedstep._cli.figures import rendered
from fusedstep._cli.measurement import Benchmark
from fusedstep._cli.peers import IN_FLOAT32, IN_PLACE, ROOFLINE, TEXTBOOK
from fusedstep.gallery import COLOURS, blank_figure
from fusedstep.gallery._style import tidy

__all__ = ["render"]

# The markers distinguish the lines in greyscale.
STYLES: dict[str, dict[str, Any]] = {
    TEXTBOOK: {"color": COLOURS["grey"], "marker": "o"},
    IN_PLACE: {"color": COLOURS["orange"], "marker": "s"},
    OURS: {"color": COLOURS["vermilion"], "marker": "D", "linewidth": 3},
    IN_FLOAT32: {"color": COLOURS["orange"], "marker": "s", "linewidth": 2},
    "torch": {"color": COLOURS["blue"], "marker": "^", "markersize": 11, "markerfacecolor": "none"},
    "torchao": {"color": COLOURS["sky"], "marker": "^"},
    "bitsandbytes": {"color": COLOURS["green"], "marker": "v"},
    "DeepSpeed": {"color": COLOURS["purple"], "marker": "P"},
    ROOFLINE: {"color": COLOURS["black"], "linestyle": "--", "linewidth": 1.2, "marker": "_"},
}
MEAN: dict[str, Any] = {"linestyle": "none", "marker": "x", "markersize": 7, "markeredgewidth": 2}


def short(size: float, _: object = None) -> str:
    """1,500,000 as 1.5M."""
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size >= unit:
            return f"{size / unit:g}{letter}"
    return f"{size:g}"


def draw_contestant(ax: Axes, result: Benchmark, name: str, style: dict[str, Any]) -> None:
    """The medians with their intervals; and the means above them, where steps stalled."""
    timings = [timing for timing in result.timings if name in timing.stretches]
    sizes = [timing.parameters for timing in timings]
    times = [timing.seconds(name) for timing in timings]
    typical, low, high = (
        [bound * 1e9 / size for bound, size in zip(bounds, sizes, strict=True)]
        for bounds in zip(*times, strict=True)
    )
    below = [m - x for m, x in zip(typical, low, strict=True)]
    above = [x - m for m, x in zip(typical, high, strict=True)]
    label = "roofline: the same streams, one addition" if name == ROOFLINE else name
    ax.errorbar(sizes, typical, (below, above), label=label, capsize=4, elinewidth=1.2, **style)
    stalled = [timing for timing in timings if timing.stalled(name)]
    means = [timing.mean_seconds(name) * 1e9 / timing.parameters for timing in stalled]
    ax.plot([timing.parameters for timing in stalled], means, **MEAN, color=style["color"])


def library_of(name: str) -> str:
    """Whose style a contestant has: the longest name that its own begins with, or none."""
    return max((key for key in STYLES if name.startswith(key)), key=len, default="")


def draw(ax: Axes, result: Benchmark) -> None:
    """All contestants, in an order in which none covers another."""
    ax.set_xscale("log")
    ax.set_yscale("log")
    sizes = [timing.parameters for timing in result.timings]
    ax.set_xlim(min(sizes) / 1.5, max(sizes) * 1.5)
    names = [
        name
        for name in (*result.peers, OURS, ROOFLINE)
        if library_of(name) and any(name in timing.stretches for timing in result.timings)
    ]
    for name in sorted(names, key=lambda name: list(STYLES).index(library_of(name))):
        draw_contestant(ax, result, name, STYLES[library_of(name)])
    if any(timing.stalled(name) for timing in result.timings for name in timing.stretches):
        ax.plot([], [], **MEAN, color="0.3", label="mean, with all stalls")
    ax.xaxis.set_major_formatter(FuncFormatter(short))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.set_xlabel("parameters")
    ax.set_ylabel("ns per parameter (lower is better)")
    tidy(ax)


def render(result: Benchmark) -> bytes:
    """Draw the picture and return it as PNG."""
    figure = blank_figure(8, 6)
    ax = figure.subplots()
    draw(ax, result)
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    ax.set_title(f"One step of {result.rule}: {result.mode}, {threads}, {fs.isa()}")
    figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return rendered(figure, "png")
