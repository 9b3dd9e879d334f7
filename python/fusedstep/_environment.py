"""What the command line says of a wrong environment variable."""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["end_command"]


def end_command(error: ImportError) -> None:
    """Exit with one line if the command line is running; otherwise do nothing.

    The variables are checked when the compiled core is imported, which is before the command line
    could catch the error: so the package's ``__init__`` calls this.
    """
    program = Path(sys.argv[0]).stem if sys.argv else ""
    as_module = program == "-m" and "fusedstep" in sys.orig_argv
    if str(error).startswith("FUSEDSTEP_") and (program == "fusedstep" or as_module):
        print(f"fusedstep: {error}", file=sys.stderr)
        raise SystemExit(2)
