"""Names at the lines that they name, where there is room."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

__all__ = ["label_lines"]

Pixels = NDArray[np.float64]  # (n, 2)

CELL = 3  # pixels of a cell of the raster in which room is looked for
DIRECTIONS = [(x, y) for x, y in product((-1, 0, 1), repeat=2) if x or y]
DISTANCES = (4, 8, 14, 22)  # from a line to its label, in points
# Points around a label where nothing else should be, so that it is clear whose it is.
SURROUNDINGS = 7


class Raster:
    """What is drawn in an Axes, in cells of a few pixels."""

    def __init__(self, ax: Axes) -> None:
        area = ax.get_window_extent()
        self._low, self._high = np.array(area.min), np.array(area.max)
        self._cells = np.zeros(((self._high - self._low) / CELL).astype(int) + 1)

    def _indices(self, pixels: Pixels) -> NDArray[np.int64]:
        last = np.array(self._cells.shape) - 1
        return np.asarray(np.clip((pixels - self._low) // CELL, 0, last), np.int64)

    def add_line(self, pixels: Pixels) -> None:
        """Points of a line, as near to each other as cells are; each cell counts once."""
        x, y = np.unique(self._indices(pixels), axis=0).T
        self._cells[x, y] += 1

    def add_box(self, low: Pixels, high: Pixels) -> None:
        """Something rectangular, such as text, given by its corners."""
        (x0, y0), (x1, y1) = self._indices(np.array([low, high]))
        self._cells[x0 : x1 + 1, y0 : y1 + 1] += 3

    def within(self, low: Pixels, high: Pixels) -> NDArray[np.float64]:
        """How many cells are taken in each of many boxes."""
        sums = np.pad(self._cells, ((1, 0), (1, 0))).cumsum(0).cumsum(1)
        (x0, y0), (x1, y1) = self._indices(low).T, self._indices(high).T + 1
        return np.asarray(sums[x1, y1] - sums[x0, y1] - sums[x1, y0] + sums[x0, y0])

    def holds(self, low: Pixels, high: Pixels) -> NDArray[np.bool_]:
        """Whether each of many boxes is within the Axes."""
        return np.asarray(np.all((low >= self._low) & (high <= self._high), axis=1))


def _along(line: Line2D) -> Pixels:
    """Points of a line in pixels, as near to each other as the cells of a raster."""
    corners = np.asarray(line.get_transform().transform(np.asarray(line.get_xydata())))
    corners = np.asarray(corners[np.isfinite(corners).all(axis=1)])
    if not len(corners) or line.get_linestyle() == "None":
        return corners
    steps = np.abs(np.diff(corners, axis=0)).max(axis=1, initial=0)
    length = np.concatenate([[0], np.cumsum(steps)])
    at = np.linspace(0, length[-1], min(int(length[-1] / CELL), 20_000) + 2)
    return np.stack([np.interp(at, length, values) for values in corners.T], axis=1)


def label_lines(ax: Axes, *, size: float = 10) -> dict[Line2D, Annotation]:
    """Write the label of each line beside it, in its colour, where it covers nothing.

    Call it last: with all lines, other texts, scales and limits in place.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
        Its lines are labelled; those without a label are only kept free.
    size : float
        Of the font, in points.

    Returns
    -------
    dict
        For each labelled line its text.
    """
    from matplotlib.patheffects import withStroke

    figure = cast("Figure", ax.figure)
    figure.draw_without_rendering()  # now all has its place,
    figure.set_layout_engine("none")  # which it keeps
    point = figure.dpi / 72
    raster = Raster(ax)
    for other in ax.texts:
        extent = other.get_window_extent()
        raster.add_box(np.array(extent.min), np.array(extent.max))
    inside = {line: (pixels := _along(line))[raster.holds(pixels, pixels)] for line in ax.lines}
    paths = {line: pixels for line, pixels in inside.items() if len(pixels)}
    for pixels in paths.values():
        raster.add_line(pixels)
    labels = {}
    for line, pixels in paths.items():
        name = str(line.get_label())
        if name.startswith("_"):
            continue
        text = ax.annotate(
            name,
            tuple(ax.transData.inverted().transform(pixels[0])),
            (0, 0),
            textcoords="offset points",
            color=line.get_color(),
            fontsize=size,
            fontweight="bold",
            ha="center",
            va="center",
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
            zorder=10,
        )
        text.set_in_layout(False)
        anchor, centre, half = _best_place(raster, pixels, text, point)
        raster.add_box(centre - half, centre + half)
        text.xy = tuple(ax.transData.inverted().transform(anchor))
        text.set_position(tuple((centre - anchor) / point))
        labels[line] = text
    return labels


def _best_place(
    raster: Raster, pixels: Pixels, text: Annotation, point: float
) -> tuple[Pixels, Pixels, Pixels]:
    """Where on the line, where the text's centre, and half of its size."""
    half = np.array(text.get_window_extent().size) / 2
    places = list(product(range(0, len(pixels), 3), DIRECTIONS, DISTANCES))
    index, direction, distance = (np.array(column) for column in zip(*places, strict=True))
    anchors = pixels[index]
    edges = anchors + direction * distance[:, None] * point
    centres = edges + direction * half
    tight, wide, near = half + 2 * point, half + SURROUNDINGS * point, 5 * point
    cost = (
        20 * raster.within(centres - tight, centres + tight)
        + raster.within(centres - wide, centres + wide)
        + 4 * raster.within(anchors - near, anchors + near)  # rather where no other line is
        + 3 * raster.within(np.minimum(anchors, edges), np.maximum(anchors, edges))
        + 1.5 * distance
        + 10 * (1 - index / len(pixels))  # paths that begin together are told from each other later
    )
    fits = raster.holds(centres - tight, centres + tight)
    best = int(np.argmin(np.where(fits, cost, np.inf)))
    return anchors[best], centres[best], half
