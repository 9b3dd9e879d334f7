"""The calls of the operating system that write a file, which fail or do less than they are asked to."""

import errno
import os
from pathlib import Path

OF_OS = ("open", "write", "lseek", "fsync", "close")


class Calls:
    """Counts the calls; the one of this number fails, if any."""

    def __init__(self, monkeypatch, fail_at=None, error=errno.EIO, short=False):
        self.names, self._fail_at, self._error, self._short = [], fail_at, error, short
        for name in OF_OS:
            monkeypatch.setattr(os, name, self._watched(name, getattr(os, name)))
        monkeypatch.setattr(Path, "replace", self._watched("replace", Path.replace))

    def _watched(self, name, call):
        def watched(*args, **kwargs):
            self.names.append(name)
            fails = len(self.names) - 1 == self._fail_at
            if fails and name == "write":
                call(args[0], args[1][: len(args[1]) // 2])  # as on a disk that is full
            elif fails and name == "close":
                call(*args)  # which Linux does, whatever it says
            if fails:
                raise OSError(self._error, f"{os.strerror(self._error)} in {name}")
            if name == "write" and self._short:
                return call(args[0], args[1][: 1 + len(args[1]) // 3])
            return call(*args, **kwargs)

        return watched
