"""The pieces of the figures of ``fusedstep demo``. matplotlib is imported when something is drawn."""

from fusedstep.gallery._rules import LECTURE
from fusedstep.gallery._style import COLOURS, blank_figure, style_of

__all__ = ["COLOURS", "LECTURE", "blank_figure", "style_of"]


def __dir__() -> list[str]:
    return sorted(__all__)
