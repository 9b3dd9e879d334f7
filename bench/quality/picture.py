"""One picture: curves, their differences to fp32's, and the angles between the updates."""

from pathlib import Path
from typing import Any

import numpy as np

from fusedstep.gallery import COLOURS

from ..harness.processes import Result
from .modes import FP32, MODES, Mode

# Colours say how the parameters are stored, lines how the state is.
STORED = {
    "fp32": COLOURS["black"],
    "nearest": COLOURS["vermilion"],
    "stochastic": COLOURS["orange"],
    "kahan": COLOURS["green"],
    "split-32": COLOURS["blue"],
    "split-24": COLOURS["purple"],
}
LINES = {"float32": "-", "bfloat16": "--", "8bit": ":"}
NARROW_STATE = "#888888"  # with parameters in float32


def style(mode: Mode) -> dict[str, Any]:
    stored = max((name for name in STORED if mode.name.startswith(name)), key=len, default="")
    return {"color": STORED.get(stored, NARROW_STATE), "linestyle": LINES[mode.state]}


def curves(runs: list[dict[str, Any]], what: str) -> np.ndarray:
    return np.array([run[what] for run in runs])


def column(axes: Any, case: dict[str, Any]) -> None:
    """One training: curves, differences and two angles, from above."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    reference = curves(case["modes"][FP32.name], "curve")
    x = (np.arange(reference.shape[1]) + 1) * case["steps"] / reference.shape[1]
    base = reference.mean(0)
    axes[0].fill_between(x, reference.min(0), reference.max(0), color="#dddddd")
    axes[1].fill_between(x, (reference - base).min(0), (reference - base).max(0), color="#dddddd")
    for mode in MODES:
        runs = case["modes"].get(mode.name)
        if not runs:
            continue
        own = curves(runs, "curve").mean(0)
        axes[0].plot(x, own, **style(mode), linewidth=1)
        axes[1].plot(x, own - base, **style(mode), linewidth=1.2)
        if mode is not FP32:
            for into, what in ((axes[2], "angle_of_a_step"), (axes[3], "angle_of_a_stretch")):
                into.plot(x, np.median(curves(runs, what), 0), **style(mode), linewidth=1.2)
    axes[0].set_title(f"{case['name'].split('-')[0]}, {case['rule']}", fontsize=9, loc="left")
    axes[0].set_yscale("log")
    low, high = axes[0].get_ylim()
    axes[0].yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 20 * low else (1,)))
    axes[0].yaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes[0].yaxis.set_minor_formatter(NullFormatter())
    axes[1].set_yscale("symlog", linthresh=1e-3)
    for into in axes[2:]:
        into.set_yscale("log")
        into.set_ylim(1e-3, 130)
    axes[3].set_xlabel("step", fontsize=8)
    for into in axes:
        into.grid(color="#eeeeee", linewidth=0.6)
        into.tick_params(labelsize=7)
        into.spines[["top", "right"]].set_visible(False)


def draw(result: Result, path: Path) -> str:
    """Write the picture, and return in words what was done."""
    try:
        import matplotlib

        matplotlib.use("Agg")
        import matplotlib.pyplot as plt
        from matplotlib.lines import Line2D
    except ImportError as error:
        return f"no picture ({error})"
    cases = result["cases"]
    size = (0.6 + 3.0 * len(cases), 9.0)
    figure, grid = plt.subplots(
        4, len(cases), figsize=size, sharex="col", squeeze=False, layout="constrained"
    )
    for i, case in enumerate(cases):
        column(grid[:, i], case)
    words = (
        "loss of the batches",
        "its difference to fp32's mean\n(grey: fp32's seeds)",
        "angle of one step to\nthat of float32, degrees",
        "angle of a twentieth of the\ntraining, degrees",
    )
    for axes, text in zip(grid[:, 0], words, strict=True):
        axes.set_ylabel(text, fontsize=8)
    marks = [Line2D([], [], **style(mode), label=mode.name) for mode in MODES]
    figure.legend(handles=marks, loc="outside lower center", ncols=6, fontsize=8, frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path.name
