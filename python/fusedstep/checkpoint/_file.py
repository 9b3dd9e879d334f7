"""A checkpoint file as a whole: a document, and arrays by name."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusedstep._errors import CheckpointDamagedError, CheckpointError
from fusedstep._messages import listed
from fusedstep.checkpoint import _layout
from fusedstep.checkpoint._durable import replacing
from fusedstep.checkpoint._layout import DTYPES, Held, Place

__all__ = ["Contents", "read", "write"]

_PART = 1 << 24  # bytes that are read at a time


class Contents(NamedTuple):
    """What a file holds: the arrays are views of the mapped file, and read-only."""

    document: str
    arrays: dict[str, Held]


def write(path: Path, document: str, arrays: Mapping[str, Held]) -> None:
    """Write a file in place of the one that is there, once it is wholly on the disk."""
    places = _layout.places_of(arrays)

    def checksums() -> dict[str, int]:
        return {name: _layout.checksum_of(_layout.parts_of(arrays[name].array)) for name in places}

    with replacing(path) as file, _beside(checksums) as result:
        file.seek(len(_layout.encode(document, places, {})))
        for name in places:
            for part in _layout.parts_of(arrays[name].array):
                file.write(part)
        file.seek(0)
        file.write(_layout.encode(document, places, result()))


@contextmanager
def _beside(call: Callable[[], dict[str, int]]) -> Iterator[Callable[[], dict[str, int]]]:
    """Make a call on another thread, and give a function that waits for its result.

    No executor, which could no longer be used while the interpreter ends and waits for the file.
    """
    from concurrent.futures import Future

    future: Future[dict[str, int]] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - for the other thread
            future.set_exception(error)

    thread = Thread(target=run, name="fusedstep-checksums")
    try:
        thread.start()
    except RuntimeError:  # no thread can start
        run()
    try:
        yield future.result
    finally:
        future.exception()  # the arrays are the caller's again


def read(path: Path) -> Contents:
    """Read and verify a file.

    Raises
    ------
    CheckpointError
        It is no checkpoint, or not as it was written (CheckpointDamagedError), or no file.
    """
    try:
        return _read(path)
    except CheckpointError as error:
        raise type(error)(f"{path}: {error}") from None


def _read(path: Path) -> Contents:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # no pipe is waited for
    try:
        status = os.fstat(descriptor)
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise CheckpointError("expected a file, got a folder or a device")
        if size < 8:
            raise CheckpointDamagedError(
                f"length at byte 0: expected 8 bytes, got a file of {size}"
            )
        file = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    length = int.from_bytes(file[:8], "little")
    if not 2 <= length <= min(size - 8, _layout.MAX_HEADER):
        raise CheckpointDamagedError(
            f"length at byte 0: expected that of a safetensors header, got {length} in a file of "
            f"{size} bytes: this is no checkpoint, or it is damaged"
        )
    start = 8 + length
    metadata, places = _layout.parse(memoryview(file)[8:start], size - start)
    if "fusedstep" not in metadata:
        raise CheckpointDamagedError(
            "header: expected an entry 'fusedstep' in __metadata__, got none: this is another safetensors file"
        )
    document = _layout.document_in(metadata, places)
    expected = _layout.checksums_in(metadata, places)
    damaged = [
        f"{name} at byte {start + place.begin}"
        for name, place in places.items()
        if _checksum(file, start, place) != expected[name]
    ]
    if damaged:
        raise CheckpointDamagedError(f"data of {listed(damaged)}: the checksum differs")
    arrays = {name: Held(_view(file, start, place), place.dtype) for name, place in places.items()}
    return Contents(document, arrays)


def _checksum(file: mmap.mmap, start: int, place: Place) -> int:
    """The checksum of an array in the file, of which no more than a part is kept in memory."""

    def parts() -> Any:
        with memoryview(file) as whole:
            for begin in range(start + place.begin, start + place.end, _PART):
                end = min(begin + _PART, start + place.end)
                with whole[begin:end] as part:
                    yield part
                page = begin - begin % mmap.PAGESIZE
                file.madvise(mmap.MADV_DONTNEED, page, end - page)

    return _layout.checksum_of(parts())


def _view(file: mmap.mmap, start: int, place: Place) -> NDArray[Any]:
    dtype = DTYPES[place.dtype]
    if place.begin == place.end:  # which may be the end of the file
        return np.frombuffer(b"", dtype).reshape(place.shape)
    count = (place.end - place.begin) // dtype.itemsize
    return np.frombuffer(file, dtype, count, start + place.begin).reshape(place.shape)
