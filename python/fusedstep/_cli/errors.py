"""How an error reaches the terminal: as one line and an exit code, without a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from fusedstep._cli.streams import discard_stdout, prepare_streams
from fusedstep._messages import printable
from fusedstep.checkpoint._durable import replacing

__all__ = ["CommandError", "UsageError", "check_output", "exit_code_of", "write_output"]


class CommandError(Exception):
    """A command cannot do its work, and it is not the program's fault; the message says why."""

    exit_code = 3


class UsageError(CommandError):
    """The arguments do not go together."""

    exit_code = 2


def exit_code_of(command: Callable[[], None]) -> int:
    """Run the command, report what stops it on standard error, and return its exit code."""
    prepare_streams()
    try:
        if sys.stdout is None:
            raise CommandError("standard output is closed")
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
        return error.exit_code
    except MemoryError:
        print("fusedstep: not enough memory", file=sys.stderr)
        return 3
    except BrokenPipeError:  # 128 + SIGPIPE, as programs in C exit
        discard_stdout()
        return 141
    except OSError as error:  # a full disk, say
        discard_stdout()
        print(f"fusedstep: {error}", file=sys.stderr)
        return 3


def check_output(path: Path) -> None:
    """Raise CommandError if `path` cannot be written: before the work rather than after it."""
    try:
        if not path.parent.is_dir():
            raise _unwritable(path, f"there is no directory {path.parent}")
        existed = path.exists()
        if existed and not (path.is_dir() or path.is_file() or path.is_char_device()):
            raise _unwritable(path, "it is not a file")  # to open a pipe would wait for its reader
        with path.open("ab"):  # permissions do not suffice: a file system may be read-only
            pass
        if not existed:
            path.resolve().unlink()
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def write_output(path: Path, content: bytes) -> None:
    """Write the file, wholly or not at all. CommandError if that fails."""
    try:
        if path.is_char_device():  # /dev/null, say, which shall remain one
            path.write_bytes(content)
        else:
            with replacing(path) as file:
                file.write(content)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from None


def _unwritable(path: Path, reason: str) -> CommandError:
    return CommandError(printable(f"cannot write {path}: {reason}", 500))
