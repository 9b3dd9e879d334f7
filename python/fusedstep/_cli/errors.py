"""How an error reaches the terminal: as one line and an exit code, without a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

__all__ = ["CommandError", "check_output", "exit_code_of", "write_output"]


class CommandError(Exception):
    """A command cannot do its work, and it is not the program's fault; the message says why."""


def _discard_stdout() -> None:
    """Discard what is still buffered: at exit Python would flush it, and fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def exit_code_of(command: Callable[[], None]) -> int:
    """Run the command, report what stops it on standard error, and return its exit code."""
    try:
        try:
            command()
            return 0
        finally:
            sys.stdout.flush()  # here, where a failure still becomes an exit code
    except SystemExit as stop:  # argparse has printed its help (0) or a usage error (2)
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("fusedstep: interrupted", file=sys.stderr)
        return 130
    except CommandError as error:
        print(f"fusedstep: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # 128 + SIGPIPE, as programs in C exit
        _discard_stdout()
        return 141
    except OSError as error:  # a full disk, say
        _discard_stdout()
        print(f"fusedstep: {error}", file=sys.stderr)
        return 3


def check_output(path: Path) -> None:
    """Raise CommandError if `path` cannot be written: before the work rather than after it."""
    if not path.parent.is_dir():
        raise CommandError(f"cannot write {path}: there is no directory {path.parent}")
    existed = os.path.lexists(path)
    try:
        with path.open("ab"):  # permissions do not suffice: a file system may be read-only
            pass
        if not existed:
            path.unlink()
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None


def write_output(path: Path, content: bytes) -> None:
    """Write the file. CommandError if that fails."""
    try:
        path.write_bytes(content)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
