"""Figures as PNG, without pyplot: a library leaves no global state behind."""

from __future__ import annotations

import io
import os
from types import ModuleType
from typing import TYPE_CHECKING

from fusedstep._bench.libraries import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["blank_figure", "drawing", "to_png"]


def drawing(module: str) -> ModuleType:
    """A module of this package that draws.

    Raises
    ------
    Unusable
        There is no matplotlib, or it cannot be imported.
    """
    # matplotlib refuses to be imported under a backend that it does not know. Here it needs none.
    backend = os.environ.pop("MPLBACKEND", None)
    try:
        library("matplotlib", "matplotlib")
        return library(module, "matplotlib")
    finally:
        if backend is not None:
            os.environ["MPLBACKEND"] = backend


def blank_figure(width: float, height: float) -> Figure:
    """A figure of this size in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def to_png(figure: Figure) -> bytes:
    """The figure as a PNG."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()
