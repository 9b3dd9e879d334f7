"""Checkpoints that are written while the program goes on."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fusedstep._errors import CheckpointError
from fusedstep.checkpoint._file import write
from fusedstep.checkpoint._layout import Held

__all__ = ["WRITER"]


class _Writer:
    """One thread that writes one file after another, in the order in which they come."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """As in a new process: in a forked one the thread is gone, and the files are another's."""
        self._thread: ThreadPoolExecutor | None = None
        self._running: list[tuple[Path, Future[None]]] = []
        self._memory: list[NDArray[np.uint8]] = []  # of the copies that were last written

    def submit(
        self,
        path: Path,
        document: str,
        arrays: Mapping[str, Held],
        then: Callable[[], object] | None,
    ) -> None:
        """Copy the arrays, and write them later; `then` is called where they are written."""
        # Copying to memory that is new to the process takes several times as long.
        memory, self._memory = self._memory, []
        blocks: list[NDArray[np.uint8]] = []
        copies = {}
        for name, (array, dtype) in arrays.items():
            block = _taken(memory, array.nbytes)
            blocks.append(block)
            copies[name] = Held(np.ndarray(array.shape, array.dtype, buffer=block), dtype)
            np.copyto(copies[name].array, array)
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, "fusedstep-checkpoint")
        task = self._thread.submit(self._write, path, document, copies, blocks, then)
        self._running.append((path, task))

    def _write(
        self,
        path: Path,
        document: str,
        copies: dict[str, Held],
        blocks: list[NDArray[np.uint8]],
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
        for _, task in self._running:
            task.exception()
        self._memory = []
        self.raise_errors()

    def raise_errors(self) -> None:
        """Raise what has kept a file from being written, once; the newest such file's."""
        running, failed = [], []
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

    def tell(self) -> None:
        """Say at the end of the process what nobody has been told."""
        try:
            self.wait()
        except CheckpointError as error:
            print(f"fusedstep: {error}", file=sys.stderr)


def _taken(memory: list[NDArray[np.uint8]], size: int) -> NDArray[np.uint8]:
    """A block of so many bytes, of those at hand if there is one."""
    for i, block in enumerate(memory):
        if block.nbytes == size:
            return memory.pop(i)
    return np.empty(size, np.uint8)


WRITER = _Writer()
atexit.register(WRITER.tell)
os.register_at_fork(after_in_child=WRITER.reset)
