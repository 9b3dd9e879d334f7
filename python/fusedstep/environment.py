"""A wrong environment variable, as who called hears of it."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["end_command"]


def end_command(error: ImportError) -> None:
    """End the process with one line where it is the command line; else leave the error alone.

    The variables are checked when the compiled core is imported, before the command line can run:
    so this is asked in the package's ``__init__``.
    """
    program = Path(sys.argv[0]).stem if sys.argv else ""
    as_module = program == "-m" and "fusedstep" in sys.orig_argv
    if str(error).startswith("FUSEDSTEP_") and (program == "fusedstep" or as_module):
        print(f"fusedstep: {error}", file=sys.stderr)
        raise SystemExit(2)
