"""What the command line says of what stops it before it could catch that: while it is imported."""

from __future__ import annotations

import sys
from pathlib import Path
from types import TracebackType

__all__ = ["end_command", "interrupt_in_one_line"]


def _is_command() -> bool:
    program = Path(sys.argv[0]).stem if sys.argv else ""
    return program == "fusedstep" or (program == "-m" and "fusedstep" in sys.orig_argv)


def end_command(error: ImportError) -> None:
    """Exit with one line if the command line is running; otherwise do nothing.

    The variables of the environment are checked when the compiled core is imported.
    """
    if str(error).startswith("FUSEDSTEP_") and _is_command():
        print(f"fusedstep: {error}", file=sys.stderr)
        raise SystemExit(2)


def interrupt_in_one_line() -> None:
    """If the command line is running, an interrupt that it does not catch is no traceback."""
    if _is_command():
        sys.excepthook = _report


def _report(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("fusedstep: interrupted", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)
