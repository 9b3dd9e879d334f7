"""Files that are replaced as a whole, and are on the disk before they are."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["NewFile", "remove_leftovers", "replacing"]

_SUFFIX = ".tmp"


class NewFile:
    """A file that is being written."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, data: bytes | memoryview) -> None:
        """Write all of it: the system may take less at a time."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]

    def seek(self, position: int) -> None:
        """Go on writing here."""
        os.lseek(self._descriptor, position, os.SEEK_SET)


@contextmanager
def replacing(path: Path) -> Iterator[NewFile]:
    """A new file that takes the place of `path` once it is written: wholly, or not at all.

    It is written beside `path`, brought to the disk, and renamed. Whatever fails, or a power cut,
    leaves the old file, which stays also in the memory of those who have mapped it.
    """
    path = Path(os.path.realpath(path))  # of a link, what it refers to
    remove_leftovers(path.parent, re.escape(path.name))
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}{_SUFFIX}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        try:
            with suppress(OSError):  # of file systems without locks
                fcntl.flock(descriptor, fcntl.LOCK_EX)  # until it is closed: see remove_leftovers
            yield NewFile(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path, names: str) -> None:
    """Remove what writers have left that were killed: the lock of a living one still holds.

    `names` is the pattern of the names of the files that they were writing.
    """
    pattern = re.compile(rf"\.(?:{names})\.[0-9a-f]{{8}}{re.escape(_SUFFIX)}")
    with suppress(OSError):
        for leftover in [path for path in folder.iterdir() if pattern.fullmatch(path.name)]:
            _remove_unlocked(leftover)


def _remove_unlocked(leftover: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(leftover, os.O_WRONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            leftover.unlink()
        finally:
            os.close(descriptor)
