"""Names at the ends of lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["label_ends"]


def label_ends(ax: Axes, size: float = 10) -> None:
    """Write the label of each line behind its last point, apart from the others.

    Call it when scales and limits are in place. Lines without a label stay without.
    """
    figure = cast("Figure", ax.figure)
    figure.draw_without_rendering()  # now everything has its place
    point = figure.dpi / 72
    lines = [line for line in ax.lines if not str(line.get_label()).startswith("_")]
    ends = [np.asarray(line.get_xydata())[-1] for line in lines]
    heights = np.array([ax.transData.transform(end)[1] / point for end in ends])
    order = np.argsort(heights)
    rows = np.array([1 + str(lines[i].get_label()).count("\n") for i in order])
    places, gaps = heights[order], 1.3 * size * (rows[1:] + rows[:-1]) / 2
    for _ in range(200):  # neighbours that touch move each other away
        overlap = np.maximum(gaps - np.diff(places), 0) / 2
        places[:-1] -= overlap
        places[1:] += overlap
    for i, place in zip(order, places, strict=True):
        ax.annotate(
            str(lines[i].get_label()),
            tuple(ends[i]),
            xytext=(8, place - heights[i]),
            textcoords="offset points",
            color=lines[i].get_color(),
            fontsize=size,
            fontweight="bold",
            verticalalignment="center",
            annotation_clip=False,
        )
