"""A checkpoint file as a whole: a document, and arrays by name."""

from __future__ import annotations

import mmap
import os
import stat
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
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
    checksums: dict[str, int] = {}
    with replacing(path) as file, ThreadPoolExecutor(1) as beside:
        file.seek(len(_layout.encode(document, places, checksums)))
        for name in places:
            array = arrays[name].array
            checksum = beside.submit(_layout.checksum_of, _layout.parts_of(array))
            for part in _layout.parts_of(array):
                file.write(part)
            checksums[name] = checksum.result()
        file.seek(0)
        file.write(_layout.encode(document, places, checksums))


def read(path: Path) -> Contents:
    """Read and verify a file.

    Raises
    ------
    CheckpointError
        It is no checkpoint, or (CheckpointDamagedError) it is not as it was written.
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
        raise CheckpointError(
            f"length at byte 0: expected that of a safetensors header, got {length} in a file of "
            f"{size} bytes: this is no checkpoint, or it is damaged"
        )
    start = 8 + length
    metadata, places = _layout.parse(file[8:start], size - start)
    if "fusedstep" not in metadata:
        raise CheckpointError(
            "header: expected an entry 'fusedstep' in __metadata__, got none: this is another safetensors file"
        )
    document = _layout.document_in(metadata, places)
    expected = _layout.checksums_in(metadata)
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
        return np.empty(place.shape, dtype)
    count = (place.end - place.begin) // dtype.itemsize
    return np.frombuffer(file, dtype, count, start + place.begin).reshape(place.shape)
