"""One picture: every contestant's time relative to fusedstep's, one panel per case."""

import math
from pathlib import Path
from typing import Any

from fusedstep._bench.contestants import OURS
from fusedstep.gallery import COLOURS

from ..harness.processes import Result
from ..harness.results import CaseResult, to_reference
from .names import NUMBA_ONE_ARRAY, PASSED, ROOFLINE
from .ratios import is_adam
from .report import on_all_threads

# A colour and a marker each, so that either alone suffices.
STYLES = {
    ROOFLINE: (COLOURS["black"], "|", "roofline: same memory, one addition"),
    PASSED: (COLOURS["blue"], "D", "fusedstep, gradients passed anew"),
    "fused": (COLOURS["vermilion"], "o", "peers that fuse or compile"),
    "unfused": (COLOURS["green"], "s", "peers that sweep once per operation"),
}
UNFUSED = ("torch foreach", "torch for-loop", "NumPy", "thinc")


def _style(name: str) -> str:
    if name in STYLES:
        return name
    return "unfused" if name.startswith(UNFUSED) else "fused"


def panels(result: Result) -> list[CaseResult]:
    """The Adam cases, in which all opponents take part."""
    return [case for case in on_all_threads(result) if is_adam(case)]


def _rows(cases: list[CaseResult]) -> list[str]:
    """Contestants, fastest first by geometric mean: the same order in every panel."""
    logs: dict[str, list[float]] = {}
    for case in cases:
        for name in case["contestants"]:
            if name not in (OURS, NUMBA_ONE_ARRAY):
                logs.setdefault(name, []).append(math.log(to_reference(case, name).median))
    return sorted(logs, key=lambda name: (name != ROOFLINE, sum(logs[name]) / len(logs[name])))


def _label(
    axes: Any, text: str, x: float, y: float, left: bool = False, color: str = "#000000"
) -> None:
    axes.annotate(
        text,
        (x, y),
        (-5 if left else 5, 0),
        textcoords="offset points",
        ha="right" if left else "left",
        va="center",
        fontsize=7,
        color=color,
    )


def _panel(axes: Any, case: CaseResult, names: list[str]) -> None:
    axes.axvline(1, color="#555555", linewidth=1.2, zorder=1)
    for y, name in enumerate(names):
        if name not in case["contestants"]:
            _label(axes, "not run", 1, y, color="#888888")
            continue
        ratio = to_reference(case, name)
        colour, marker, _ = STYLES[_style(name)]
        axes.plot([ratio.low, ratio.high], [y, y], color=colour, linewidth=1.6, alpha=0.55)
        axes.plot(
            ratio.median,
            y,
            marker,
            color=colour,
            markersize=9 if marker == "|" else 5.5,
            markeredgewidth=2 if marker == "|" else 0,
        )
        text = f"{ratio.median:.2f}" if ratio.median < 9.95 else f"{ratio.median:.0f}"
        if name == ROOFLINE:  # usually left of the line, and so its number does not cross it
            _label(axes, text, ratio.low, y, left=True)
        else:
            _label(axes, text, ratio.high, y)
    axes.set_title(case["title"].removeprefix("Adam, "), fontsize=9, loc="left")
    axes.grid(axis="x", which="major", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def draw(result: Result, path: Path) -> str:
    """Write the picture, and return in words what was done."""
    cases = panels(result)
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator
    except ImportError as error:
        return f"no picture ({error})"
    if not cases:
        return "no picture (no case with all opponents)"
    names = _rows(cases)
    columns = min(3, len(cases))
    rows = math.ceil(len(cases) / columns)
    size = (2.2 + 3.4 * columns, 1.3 + rows * (0.5 + 0.19 * len(names)))
    figure, grid = plt.subplots(
        rows, columns, figsize=size, sharex=True, sharey=True, squeeze=False, layout="constrained"
    )
    for axes, case in zip(grid.flat, cases, strict=False):
        _panel(axes, case, names)
    for axes in list(grid.flat)[len(cases) :]:
        axes.set_visible(False)
    first = grid[0][0]
    first.set_xscale("log")
    low, high = first.get_xlim()
    first.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 1000 * low else (1,)))
    first.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    first.xaxis.set_minor_locator(NullLocator())
    first.set_yticks(range(len(names)), names)
    for axes in grid.flat:
        axes.tick_params(axis="x", labelsize=8, labelbottom=True)
        axes.tick_params(axis="y", labelsize=8)
    first.set_ylim(len(names) - 0.4, -0.6)
    marks = [
        plt.Line2D([], [], color=c, marker=m, linestyle="-", markersize=6, label=text)
        for c, m, text in STYLES.values()
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    about = result["machine"]
    figure.suptitle(
        f"Time of an Adam step relative to fusedstep's (line at 1; right is slower)\n"
        f"{cases[0]['threads']} threads, {about['cpu']}, float32; median and range",
        fontsize=10,
    )
    figure.savefig(path, dpi=150)
    plt.close(figure)
    return path.name
