"""Landscapes, the paths of optimizers through them, and their figures and animations.

What ``fusedstep demo`` draws, and a function of your own in three lines:

>>> from fusedstep import gallery
>>> landscape = gallery.Landscape(lambda x, y: x**4 + 5 * y**2 - x * y)
>>> paths = gallery.descend(landscape)
>>> figure = gallery.plot_paths(landscape, paths)  # figure.savefig("mine.png")
>>> animation = gallery.animate_paths(landscape, paths)  # animation.save("mine.gif")

It needs matplotlib, which is imported when something is drawn.
"""

from fusedstep.gallery._animation import Animation, animate_paths
from fusedstep.gallery._labels import label_lines
from fusedstep.gallery._landscapes import PLATEAU, RAVINE, SADDLE, Landscape
from fusedstep.gallery._paths import descend
from fusedstep.gallery._plot import plot_paths
from fusedstep.gallery._rules import LECTURE
from fusedstep.gallery._style import COLOURS, blank_figure, styles_of

__all__ = [
    "COLOURS",
    "LECTURE",
    "PLATEAU",
    "RAVINE",
    "SADDLE",
    "Animation",
    "Landscape",
    "animate_paths",
    "blank_figure",
    "descend",
    "label_lines",
    "plot_paths",
    "styles_of",
]

# Public as this package's own, also for help() and in the reference.
for _public in (
    Landscape,
    animate_paths,
    blank_figure,
    descend,
    label_lines,
    plot_paths,
    styles_of,
):
    _public.__module__ = __name__


def __dir__() -> list[str]:
    return sorted(__all__)
