"""Checkpoints that are written while the program goes on."""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fusedstep._errors import CheckpointError
from fusedstep.checkpoint._file import write
from fusedstep.checkpoint._layout import Held

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

__all__ = ["WRITER"]

_Blocks = dict[int, list[NDArray[np.uint8]]]  # by size


class _Writer:
    """One thread that writes one file after another, in the order in which they come."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As in a new process: in a forked one the thread is gone, and the files are another's."""
        self._thread: ThreadPoolExecutor | None = None
        self._running: list[tuple[Path, Future[None]]] = []
        self._memory: _Blocks = {}  # of the copies that were last written
        self._lock = threading.RLock()

    def submit(
        self,
        path: Path,
        document: str,
        arrays: Mapping[str, Held],
        then: Callable[[], object] | None,
    ) -> None:
        """Copy the arrays, and write them later; `then` is called where they are written."""
        with self._lock:
            # Copying to memory that is new to the process takes several times as long.
            memory, self._memory = self._memory, {}
            blocks: _Blocks = {}
            copies = {}
            for name, (array, dtype) in arrays.items():
                size = array.nbytes
                block = memory[size].pop() if memory.get(size) else np.empty(size, np.uint8)
                blocks.setdefault(size, []).append(block)
                copies[name] = Held(np.ndarray(array.shape, array.dtype, buffer=block), dtype)
                np.copyto(copies[name].array, array)
            self._running.append((path, self._begin(path, document, copies, blocks, then)))

    def _begin(self, *file: Any) -> Future[None]:
        """Let the thread write a file after those before it."""
        from concurrent.futures import Future  # 5 ms of an import

        try:
            from concurrent.futures import ThreadPoolExecutor  # also refused by an end

            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, "fusedstep-checkpoint")
            return self._thread.submit(self._write, *file)
        except RuntimeError:  # no thread can start: too many, or the interpreter ends
            self._thread = None
        self._finish()
        done: Future[None] = Future()
        try:
            self._write(*file)
            done.set_result(None)
        except Exception as error:  # noqa: BLE001 - told as that of the thread is
            done.set_exception(error)
        return done

    def _write(
        self,
        path: Path,
        document: str,
        copies: dict[str, Held],
        blocks: _Blocks,
        then: Callable[[], object] | None,
    ) -> None:
        try:
            write(path, document, copies)
        finally:
            copies.clear()
            self._memory = blocks
        if then is not None:
            then()

    def wait(self) -> None:
        """Wait until all files are written, release the memory, and raise an error of any."""
        self._finish()
        self._memory = {}
        self.raise_errors()

    def _finish(self) -> None:
        for _, task in [*self._running]:
            task.exception()

    def raise_errors(self) -> None:
        """Raise what has kept a file from being written, once; the newest such file's."""
        running, failed = [], []
        with self._lock:
            for path, task in self._running:
                if not task.done():
                    running.append((path, task))
                elif error := task.exception():
                    failed.append((path, error))
            self._running = running
        if failed:
            path, error = failed[-1]
            names = ", ".join(str(path) for path, _ in failed)
            raise CheckpointError(
                f"{names}: saving in the background has failed: {type(error).__name__}: {error}"
            ) from error

    def report(self) -> None:
        """Print at the end of the process the errors that no call has raised."""
        try:
            self.wait()
        except CheckpointError as error:
            print(f"fusedstep: {error}", file=sys.stderr)


WRITER = _Writer()
atexit.register(WRITER.report)
os.register_at_fork(after_in_child=WRITER.reset)
