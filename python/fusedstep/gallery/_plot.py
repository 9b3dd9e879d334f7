"""The figure of paths through a landscape: a map, and below it the height after each update."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedstep.gallery._labels import label_lines
from fusedstep.gallery._landscapes import Landscape
from fusedstep.gallery._style import blank_figure, styles_of, tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

__all__ = ["PathsFigure", "plot_paths"]

Points = NDArray[np.float64]  # (n, 2)

WIDTH = 9.0  # inches
TALLEST = 5.5  # of the map
LOWER = 2.2  # of the heights below it
EVERY = 10  # updates from marker to marker
WIDEST, NARROWEST = 7.0, 1.4  # points: a line shows beneath those drawn upon it


def plot_paths(
    landscape: Landscape, paths: Mapping[str, ArrayLike], *, title: str = "", note: str = ""
) -> Figure:
    """Draw paths over the contours of a landscape, and below the height after each update.

    Every tenth update has a marker, and the last one a large marker.

    Parameters
    ----------
    landscape : Landscape
        What to draw them on.
    paths : mapping
        From names to points, as :func:`descend` returns them.
    title, note : str
        Above and below the figure.

    Returns
    -------
    matplotlib.figure.Figure
        To save (``.savefig("paths.png")``), or to show in a notebook.
    """
    return PathsFigure(landscape, paths, title, note).figure


class Curve(NamedTuple):
    """A line, the marker at its end, and all of its points."""

    line: Line2D
    head: Line2D
    points: Points


class PathsFigure:
    """The figure, which can also show how far the paths were after some of the updates."""

    def __init__(
        self, landscape: Landscape, paths: Mapping[str, ArrayLike], title: str, note: str
    ) -> None:
        self.title = title
        points = {name: np.asarray(path, np.float64) for name, path in paths.items()}
        self.updates: int = max(map(len, points.values())) - 1
        (left, right), (bottom, top) = landscape.x_range, landscape.y_range
        upper = min((WIDTH - 0.8) * (top - bottom) / (right - left), TALLEST)
        self.figure: Figure = blank_figure(WIDTH, upper + LOWER + 1.5)
        self.figure.suptitle(title, fontweight="bold")
        land, heights = self.figure.subplots(2, height_ratios=[upper, LOWER])
        self._curves = [
            *_draw_map(land, landscape, points),
            *_draw_heights(heights, landscape, points, self.updates, note),
        ]
        self.figure.align_ylabels()
        label_lines(land)
        label_lines(heights)
        artists = [artist for ax in (land, heights) for artist in (*ax.lines, *ax.texts)]
        self.moving: list[Any] = sorted(artists, key=lambda artist: artist.get_zorder())

    def show(self, update: int) -> None:
        """Show the paths up to this update."""
        for line, head, points in self._curves:
            line.set_data(*points[: update + 1].T)
            head.set_data(*points[: update + 1][-1:].T)


def _draw_map(ax: Axes, landscape: Landscape, paths: Mapping[str, Points]) -> list[Curve]:
    from matplotlib.colors import LinearSegmentedColormap

    x, y = np.linspace(*landscape.x_range, 181), np.linspace(*landscape.y_range, 121)
    z = np.vectorize(landscape.function, otypes=[float])(*np.meshgrid(x, y))
    levels = np.unique(np.nanquantile(z, np.linspace(0, 1, 16)))  # as much area between each two
    ax.contourf(x, y, z, levels, cmap=LinearSegmentedColormap.from_list("", ["#C4D2E0", "w"]))
    ax.contour(x, y, z, levels, colors="0.7", linewidths=0.4)
    ax.set(aspect="equal", xlim=landscape.x_range, ylim=landscape.y_range, xlabel="x", ylabel="y")
    ax.locator_params(axis="y", nbins=6)
    ax.plot(*landscape.start, "ko", markersize=9, label="start", zorder=5)
    for name, point in landscape.marks.items():
        ax.plot(*point, "k+", markersize=16, markeredgewidth=2, label=name, zorder=7)
    return _draw_curves(ax, paths)


def _draw_heights(
    ax: Axes,
    landscape: Landscape,
    paths: Mapping[str, Points],
    updates: int,
    note: str,
) -> list[Curve]:
    def height(point: Points) -> float:
        x, y = point
        (left, right), (bottom, top) = landscape.x_range, landscape.y_range
        on_the_map = left <= x <= right and bottom <= y <= top
        return landscape.height(point) if on_the_map else np.nan

    series = {
        name: np.stack([np.arange(len(path)), [height(point) for point in path]], axis=1)
        for name, path in paths.items()
    }
    curves = _draw_curves(ax, series)
    lowest = min(np.nanmin(points[:, 1]) for points in series.values())
    ax.set(xlim=(0, updates * 1.02), xlabel=f"update\n{note}".rstrip(), ylabel="height f(x, y)")
    if lowest > 0:
        ax.set_yscale("log")
    ax.set_ylim(ax.get_ylim())
    tidy(ax)
    return curves


def _draw_curves(ax: Axes, series: Mapping[str, Points]) -> list[Curve]:
    """A line for each name, the first ones widest, and its head."""
    curves = []
    widths = np.geomspace(WIDEST, NARROWEST, len(series))
    for (name, style), width in zip(styles_of(series).items(), widths, strict=True):
        points = series[name]
        (line,) = ax.plot(
            *points.T, **style, label=name, linewidth=width, markersize=5, markevery=EVERY
        )
        (head,) = ax.plot(
            *points[-1], **style, markersize=10, markeredgecolor="k", zorder=6, clip_on=True
        )
        curves.append(Curve(line, head, points))
    return curves
