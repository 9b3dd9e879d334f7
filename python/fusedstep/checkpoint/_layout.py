"""The layout of a checkpoint: a safetensors file, with a document and checksums in its metadata.

The file is 8 bytes of the length of a header, the header, and the bytes of all arrays without gaps.
The header is JSON: of each array dtype, shape and place, and the metadata: a mapping of strings, in
which ``fusedstep`` is a document, ``crc32`` the checksum of each array, and ``crc32_of_header`` that
of what the header says, whatever its spelling: another program may have written the file anew.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusedstep._errors import CheckpointDamagedError
from fusedstep._messages import printable, shown

__all__ = [
    "DTYPES",
    "Held",
    "Place",
    "as_numbers",
    "checksum_of",
    "checksums_in",
    "document_in",
    "encode",
    "parse",
    "parts_of",
    "places_of",
]

MAX_HEADER = 100_000_000  # bytes, as the safetensors library has it
_MAX_AXES = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32  # of NumPy
_NO_JSON = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f]")  # control characters but white space
_PART = 1 << 24  # bytes of an array that are written at a time

# Of each format in a file, NumPy's dtype; of bfloat16, which NumPy does not have, its bits.
DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    **{
        f"{kind.upper()}{8 * size}": np.dtype(f"<{kind}{size}")
        for kind in "iu"
        for size in (8, 4, 2, 1)
    },
    "BOOL": np.dtype("?"),
}
_NAMES = {dtype: name for name, dtype in DTYPES.items() if name != "BF16"}


class Held(NamedTuple):
    """An array, and its format in a file."""

    array: NDArray[Any]
    dtype: str

    @classmethod
    def of(cls, array: NDArray[Any]) -> Held | None:
        """With the format that goes with its dtype; None where there is none."""
        if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
            return cls(array.view(np.uint16), "BF16")
        name = _NAMES.get(array.dtype.newbyteorder("<"))
        return None if name is None or not array.dtype.isnative else cls(array, name)

    def numbers(self) -> NDArray[Any]:
        """The array; of bfloat16 as ``ml_dtypes`` has it if that has been imported, or its bits."""
        return as_numbers(self.array, "bfloat16") if self.dtype == "BF16" else self.array


def as_numbers(values: NDArray[Any], own_format: str) -> NDArray[Any]:
    """The values in the dtype of a format, or their bits where NumPy does not have it."""
    try:
        return values.view(np.dtype(own_format))
    except TypeError:  # bfloat16
        return values


class Place(NamedTuple):
    """Where an array is: its bytes are `begin` to `end` after the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def places_of(arrays: Mapping[str, Held]) -> dict[str, Place]:
    """One after another, those with the largest elements first, so that all are aligned."""
    places: dict[str, Place] = {}
    end = 0
    for name, (array, dtype) in sorted(arrays.items(), key=lambda one: -one[1].array.itemsize):
        begin, end = end, end + array.nbytes
        places[name] = Place(dtype, array.shape, begin, end)
    return places


def encode(document: str, places: Mapping[str, Place], checksums: Mapping[str, int]) -> bytes:
    """The length and the header, as long whatever the checksums are."""
    metadata = {
        "fusedstep": document,
        "crc32": json.dumps({name: f"{checksums.get(name, 0):08x}" for name in places}),
    }
    entries = {
        name: {"dtype": p.dtype, "shape": [*p.shape], "data_offsets": [p.begin, p.end]}
        for name, p in places.items()
    }
    metadata["crc32_of_header"] = f"{_checksum_of_header(metadata, places):08x}"
    header = json.dumps(
        {"__metadata__": metadata, **entries}, separators=(",", ":"), ensure_ascii=False
    )
    raw = header.encode()
    raw += b" " * (-len(raw) % 8)
    if len(raw) > MAX_HEADER:
        raise ValueError(
            f"header: expected at most {MAX_HEADER} bytes, got {len(raw)}: numbers in NumPy arrays "
            "take no room there, those in lists do"
        )
    return len(raw).to_bytes(8, "little") + raw


def _checksum_of_header(metadata: Mapping[str, str], places: Mapping[str, Place]) -> int:
    rest = {key: text for key, text in metadata.items() if key != "crc32_of_header"}
    said = [rest, {name: [p.dtype, *p.shape] for name, p in places.items()}]
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())


def parts_of(array: NDArray[Any]) -> Iterator[memoryview]:
    """The bytes of an array in C order, in parts; copied only where it is in another order."""
    if array.flags.c_contiguous:
        raw = array.reshape(-1).view(np.uint8).data
        for begin in range(0, array.nbytes, _PART):
            yield raw[begin : begin + _PART]
    elif array.nbytes <= _PART:
        yield from parts_of(np.ascontiguousarray(array))
    else:
        rows = max(1, _PART * len(array) // array.nbytes)
        for begin in range(0, len(array), rows):
            part = array[begin : begin + rows]
            yield from parts_of(part if rows > 1 or part.ndim == 1 else part[0])


def checksum_of(parts: Iterator[memoryview]) -> int:
    """The CRC-32 of bytes that come in parts."""
    checksum = 0
    for part in parts:
        checksum = zlib.crc32(part, checksum)
    return checksum


def parse(raw: bytes | memoryview, data_bytes: int) -> tuple[dict[str, str], dict[str, Place]]:
    """The metadata of a header, and the places of its arrays in so many bytes of data.

    Raises
    ------
    CheckpointDamagedError
        It is none of a safetensors file of this size.
    """
    if match := _NO_JSON.search(raw):  # such as numbers: they need not be decoded
        at = 8 + match.start()
        raise CheckpointDamagedError(f"header at byte {at}: expected JSON, got {shown(match[0])}")
    try:
        header = json.loads(str(raw, "utf-8"), object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise CheckpointDamagedError(f"header at byte 8: expected JSON, got {error}") from None
    if not isinstance(header, dict):
        raise CheckpointDamagedError(f"header at byte 8: expected an object, got {shown(header)}")
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(m, str) for m in metadata.values())):
        raise CheckpointDamagedError(
            f"header: __metadata__: expected an object of strings, got {shown(metadata)}"
        )
    places = {name: _place(name, entry) for name, entry in header.items()}
    end = 0
    for name, place in sorted(places.items(), key=lambda one: one[1][2:]):
        if place.begin != end:
            raise CheckpointDamagedError(
                f"header: {shown(name)}: data_offsets: expected to begin at byte {end}, where the "
                f"array before ends, got {place.begin}"
            )
        end = place.end
    if end != data_bytes:
        at = 8 + len(raw) + min(end, data_bytes)
        raise CheckpointDamagedError(
            f"data: expected {end} bytes, got {data_bytes}: the file differs at byte {at}"
        )
    return metadata, places


def _without_duplicates(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        names = Counter(name for name, _ in pairs)
        raise ValueError(f"{shown(names.most_common(1)[0][0])} twice")
    return found


def _place(name: str, entry: object) -> Place:
    """Where one entry of a header says that its array is."""
    try:
        return _checked(entry)
    except CheckpointDamagedError as error:
        raise CheckpointDamagedError(f"header: {shown(name)}: {error}") from None


def _checked(entry: object) -> Place:
    keys = ("dtype", "shape", "data_offsets")
    if not (isinstance(entry, dict) and {*entry} == {*keys}):
        raise CheckpointDamagedError(f"expected {', '.join(keys)}, got {shown(entry)}")
    dtype, shape, offsets = (entry[key] for key in keys)
    if not (isinstance(dtype, str) and dtype in DTYPES):
        raise CheckpointDamagedError(
            f"dtype: expected {printable(', '.join(DTYPES))}, got {shown(dtype)}"
        )
    if not _are_counts(shape):
        raise CheckpointDamagedError(f"shape: expected lengths, got {shown(shape)}")
    if not (_are_counts(offsets) and len(offsets) == 2 and offsets[0] <= offsets[1]):
        raise CheckpointDamagedError(f"data_offsets: expected two, got {shown(offsets)}")
    if math.prod(n or 1 for n in shape) * DTYPES[dtype].itemsize >= 2**63:  # NumPy's, also empty
        raise CheckpointDamagedError(f"shape: expected one of memory, got {shown(shape)}")
    size = math.prod(shape) * DTYPES[dtype].itemsize
    if size != offsets[1] - offsets[0]:
        raise CheckpointDamagedError(
            f"data_offsets: expected {size} bytes for {dtype} of shape {shown(tuple(shape))}, "
            f"got {shown(offsets)}"
        )
    return Place(dtype, tuple(shape), *offsets)


def _are_counts(numbers: object) -> bool:
    return (
        isinstance(numbers, list)
        and len(numbers) <= _MAX_AXES
        and all(type(n) is int and 0 <= n < 2**63 for n in numbers)
    )


def document_in(metadata: Mapping[str, str], places: Mapping[str, Place]) -> str:
    """The document of a checkpoint, once the header is found intact."""
    expected = metadata.get("crc32_of_header")
    found = f"{_checksum_of_header(metadata, places):08x}"
    if expected != found:
        raise CheckpointDamagedError(
            f"header: crc32_of_header: expected {found}, got {shown(expected)}: it was changed"
        )
    return metadata["fusedstep"]


def checksums_in(metadata: Mapping[str, str], places: Mapping[str, Place]) -> dict[str, int]:
    """The checksums of the arrays by name."""
    text = metadata.get("crc32")
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        found = None
    if not (isinstance(found, dict) and found.keys() == places.keys() and _are_hex(found.values())):
        raise CheckpointDamagedError(
            f"header: crc32: expected eight hexadecimal digits for each array, got {shown(text)}"
        )
    return {name: int(digits, 16) for name, digits in found.items()}


def _are_hex(texts: Iterable[object]) -> bool:
    return all(isinstance(one, str) and re.fullmatch("[0-9a-f]{8}", one) for one in texts)
