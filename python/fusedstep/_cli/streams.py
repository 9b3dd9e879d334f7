"""Standard output and error as a command needs them, whatever the process was started with."""

from __future__ import annotations

import codecs
import io
import os
import sys

__all__ = ["discard_stdout", "prepare_streams"]


class _Unfailing(io.FileIO):
    """A descriptor that takes everything: what nobody can read is no reason to stop a command."""

    def write(self, data: object, /) -> int:
        try:
            return super().write(data)  # type: ignore[arg-type]
        except OSError:  # a full disk, a reader that has gone
            return len(data)  # type: ignore[arg-type]


def _escaped(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a file's name as they are, and escapes for what the encoding does not have."""
    try:
        return codecs.lookup_error("surrogateescape")(error)
    except UnicodeError:
        return codecs.backslashreplace_errors(error)


def prepare_streams() -> None:
    """Let everything be printed: to standard error without fail, to both in any encoding."""
    codecs.register_error("fusedstep", _escaped)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="fusedstep")
    if sys.stderr is None:  # closed
        # The file that is opened next shall not get its number: native code may print there.
        while (fd := os.open(os.devnull, os.O_RDWR)) < 2:
            pass
        sys.stderr = open(fd, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    elif (given := sys.__stderr__) is sys.stderr:
        raw = _Unfailing(given.fileno(), "w", closefd=False)
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(raw),
            encoding=given.encoding,
            errors="backslashreplace",
            line_buffering=True,
        )


def discard_stdout() -> None:
    """Discard what is still buffered: at exit Python would flush it, and fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
