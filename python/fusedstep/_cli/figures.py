"""Figures as files, without pyplot: a library leaves no global state behind."""

from __future__ import annotations

import io
import os
from types import ModuleType
from typing import TYPE_CHECKING

from fusedstep._bench.libraries import library

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["drawing", "rendered"]

DPI = 144


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


def rendered(figure: Figure, file_format: str) -> bytes:
    """The figure as SVG, or as PNG of 256 colours, which is a third as large."""
    import matplotlib
    from PIL import Image

    buffer = io.BytesIO()
    if file_format == "svg":
        with matplotlib.rc_context({"svg.hashsalt": "fusedstep"}):  # the same figure, the same file
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        return buffer.getvalue()
    figure.savefig(buffer, format="png", dpi=DPI)
    with Image.open(buffer) as image, io.BytesIO() as small:
        image.convert("RGB").quantize().save(small, format="png", optimize=True, dpi=(DPI, DPI))
        return small.getvalue()
