"""Colours that everybody can tell apart, and figures without pyplot."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import cycle
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "blank_figure", "styles_of", "tidy"]

# Okabe & Ito 2008, https://jfly.uni-koeln.de/color/
COLOURS = {
    "orange": "#E69F00",
    "sky": "#56B4E9",
    "green": "#009E73",
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "purple": "#CC79A7",
    "grey": "#7F7F7F",
    "black": "#000000",
}

# Markers distinguish the lines in greyscale.
STYLES: dict[str, dict[str, Any]] = {
    "SGD": {"color": COLOURS["grey"], "marker": "o"},
    "Momentum": {"color": COLOURS["orange"], "marker": "s"},
    "Adagrad": {"color": COLOURS["green"], "marker": "^"},
    "RMSprop": {"color": COLOURS["blue"], "marker": "D"},
    "Adam": {"color": COLOURS["vermilion"], "marker": "v"},
}
OTHERS: list[dict[str, Any]] = [
    {"color": COLOURS["purple"], "marker": "P"},
    {"color": COLOURS["sky"], "marker": "X"},
    {"color": COLOURS["black"], "marker": "*"},
]


def styles_of(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Colour and marker for each name: the same ones always for the rules of the lecture.

    Parameters
    ----------
    names : iterable of str
        Of lines in one figure.

    Returns
    -------
    dict
        For each name what ``Axes.plot`` takes.
    """
    names = list(names)
    taken = [STYLES[name] for name in names if name in STYLES]
    others = cycle([style for style in [*OTHERS, *STYLES.values()] if style not in taken] or OTHERS)
    return {name: STYLES.get(name) or next(others) for name in names}


def blank_figure(width: float, height: float) -> Figure:
    """Return a figure that is no part of pyplot's state.

    Parameters
    ----------
    width, height : float
        In inches.

    Returns
    -------
    matplotlib.figure.Figure
        With a layout that makes room for what is written at its axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def tidy(ax: Axes) -> None:
    """A light grid, and no frame where there is no axis."""
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
    ax.spines[["top", "right"]].set_visible(False)
