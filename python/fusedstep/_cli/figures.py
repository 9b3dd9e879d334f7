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
    """The figure as PNG or SVG."""
    import matplotlib

    buffer = io.BytesIO()
    metadata = {"Date": None} if file_format == "svg" else None
    with matplotlib.rc_context({"svg.hashsalt": "fusedstep"}):  # the same figure, the same file
        figure.savefig(buffer, format=file_format, dpi=144, metadata=metadata)
    return buffer.getvalue()
