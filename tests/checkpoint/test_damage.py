"""A damaged checkpoint is found out, whatever byte it is, within bounded memory."""

import json
import os

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.checkpoint import CheckpointDamagedError
from optimizers import refused


def small():
    params = {"w": np.ones((2, 3), np.float32), "none": np.ones(0), "s": np.array(1.0)}
    opt = fs.Adam(params, ema_decay=0.5)
    opt.step({name: array.copy() for name, array in params.items()})
    return opt


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "a"
    extra = {"n": np.arange(3, dtype=np.int8), "none": np.zeros((0, 2)), "u": "ü", "x": [1.5, None]}
    fs.checkpoint.save(path, opt=small(), extra=extra)
    return path


def refuses(path):
    """Whether it is damaged, and the message says what and where."""
    try:
        fs.load(path)
    except CheckpointDamagedError as error:
        text = str(error)
        return text.startswith(f"{path}: ") and any(
            word in text for word in ("byte", "header", "document")
        )
    return False


def test_fault_27_cut_at_every_byte(checkpoint):
    raw, intact = checkpoint.read_bytes(), []
    path = checkpoint.with_name("cut")
    path.write_bytes(raw)
    for size in reversed(range(len(raw))):
        os.truncate(path, size)
        if not refuses(path):
            intact.append(size)
    assert intact == []
    for more in (b"\0", b" ", b"}", raw, bytes(4096)):
        path.write_bytes(raw + more)
        assert refuses(path)
        path.write_bytes(more + raw)
        assert refuses(path)


@pytest.mark.parametrize("at", [0, 1 << 24, -1], ids=["first", "second part", "last"])
def test_fault_27_a_byte_of_an_array_in_several_parts(at, tmp_path):
    """What is written and read at a time are 16 MiB."""
    path, values = tmp_path / "a", np.arange(5_000_000, dtype=np.float32)
    fs.checkpoint.save(path, opt=small(), extra={"values": values})
    found = fs.load(path).extra["values"]
    assert np.array_equal(found, values)
    raw = bytearray(path.read_bytes())
    raw[raw.index(values[:8].tobytes()) + at % values.nbytes] ^= 1
    path.write_bytes(raw)
    assert refuses(path)


@pytest.mark.parametrize("part", range(8))
def test_fault_27_every_bit_flipped(checkpoint, part):
    """Each byte once in eight bits: this one and those 8 further on."""
    raw = bytearray(checkpoint.read_bytes())
    path = checkpoint.with_name("flipped")
    path.write_bytes(raw)
    intact = []
    with path.open("r+b", buffering=0) as file:
        for i in range(part, len(raw), 8):
            for bit in range(8):
                file.seek(i)
                file.write(bytes([raw[i] ^ 1 << bit]))
                if not refuses(path):
                    intact.append((i, bit))
            file.seek(i)
            file.write(raw[i : i + 1])
    assert intact == []
    assert fs.load(path).step_count == 1


def test_fault_27_bytes_in_other_places(checkpoint):
    """Zeros over a block, and parts of the file exchanged, as a bad disk or a bad copy makes them."""
    raw = checkpoint.read_bytes()
    path, rng = checkpoint.with_name("other"), np.random.default_rng(0)
    for _ in range(300):
        changed = bytearray(raw)
        begin, size = int(rng.integers(len(raw))), int(rng.integers(1, 200))
        other = int(rng.integers(len(raw)))
        piece = bytes(size) if rng.random() < 0.5 else raw[other : other + size]
        changed[begin : begin + len(piece)] = piece
        if changed != raw:
            path.write_bytes(changed)
            assert refuses(path), (begin, piece)


def test_fault_27_nothing_has_changed(checkpoint):
    raw = bytearray(checkpoint.read_bytes())
    raw[-1] ^= 1
    checkpoint.write_bytes(raw)
    opt = small()
    with refused(opt, CheckpointDamagedError, "data of", "at byte", "the checksum differs"):
        opt.load(checkpoint)


def file_of(header, data=b""):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data


def entry(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": [*shape], "data_offsets": [*offsets], **more}


BIG = 2**63
HEADERS = {
    "a length beyond the file": (b"\xff" * 8 + b"{}", "length at byte 0"),
    "a length of nearly all memory": ((10**8).to_bytes(8, "little") + b"{}", "length at byte 0"),
    "a length of one": (b"\1" + bytes(7) + b"{}", "length at byte 0"),
    "an empty object": (file_of({}), "__metadata__"),
    "a list": (file_of([]), "header at byte 8: expected an object"),
    "a number": (file_of(b"12"), "header at byte 8: expected an object"),
    "no JSON": (file_of(b"{]"), "header at byte 8: expected JSON"),
    "numbers": (file_of(b'{"a' + bytes(5)), "header at byte 11: expected JSON, got b'\\x00'"),
    "no UTF-8": (file_of(b'{"\xff": 1}'), "header at byte 8: expected JSON"),
    "more after it": (file_of(b"{} {}"), "header at byte 8: expected JSON"),
    "a deep nest": (file_of(b"[" * 100_000), "header at byte 8: expected JSON"),
    "a deep nest of objects": (file_of(b'{"a":' * 100_000), "header at byte 8: expected JSON"),
    "a long number": (file_of(b'{"a":' + b"9" * 10_000 + b"}"), "header at byte 8: expected JSON"),
    "a name twice": (
        file_of(b'{"a":%s,"a":%s}' % ((json.dumps(entry()).encode(),) * 2), bytes(8)),
        "'a' twice",
    ),
    "a key of an entry twice": (
        file_of(b'{"a":{"dtype":"F32","dtype":"F64","shape":[],"data_offsets":[0,4]}}', bytes(4)),
        "'dtype' twice",
    ),
    "metadata that are a list": (file_of({"__metadata__": []}), "__metadata__: expected"),
    "metadata of numbers": (file_of({"__metadata__": {"a": 1}}), "__metadata__: expected"),
    "an entry that is none": (file_of({"a": 1}), "'a': expected dtype, shape, data_offsets"),
    "an entry without a shape": (file_of({"a": {"dtype": "F32"}}), "'a': expected dtype, shape"),
    "more in an entry": (file_of({"a": entry(x=1)}, bytes(8)), "'a': expected dtype, shape"),
    "an unknown dtype": (file_of({"a": entry("F31")}, bytes(8)), "'a': dtype: expected"),
    "a dtype that is none": (file_of({"a": entry(["F32"])}, bytes(8)), "'a': dtype: expected"),
    "another dtype": (file_of({"a": entry("F64")}, bytes(8)), "expected 16 bytes for F64"),
    "another shape": (file_of({"a": entry(shape=(3,))}, bytes(8)), "expected 12 bytes for F32"),
    "a negative length": (file_of({"a": entry(shape=(-2, -1))}, bytes(8)), "'a': shape: expected"),
    "a length that is none": (file_of({"a": entry(shape=(2.0,))}, bytes(8)), "'a': shape"),
    "a flag as length": (file_of({"a": entry(shape=(True, 2))}, bytes(8)), "'a': shape"),
    "NaN as length": (file_of({"a": entry(shape=(float("nan"),))}, bytes(8)), "'a': shape"),
    "infinite lengths": (file_of({"a": entry(shape=(float("inf"),))}, bytes(8)), "'a': shape"),
    "a length of 2**63": (file_of({"a": entry(shape=(BIG,))}, bytes(8)), "'a': shape: expected"),
    "lengths that overflow": (
        file_of({"a": entry(shape=(2**32, 2**32), offsets=(0, 0))}),
        "'a': shape: expected one of memory",
    ),
    "lengths that overflow to the right size": (
        file_of({"a": entry(shape=(2**62 + 2, 4), offsets=(0, 8))}, bytes(8)),
        "'a': shape: expected one of memory",
    ),
    "lengths that overflow beside a zero": (
        file_of({"a": entry(shape=(0, 2**40, 2**40), offsets=(0, 0))}),
        "'a': shape: expected one of memory",
    ),
    "65 axes": (file_of({"a": entry(shape=(1,) * 65, offsets=(0, 4))}, bytes(4)), "'a': shape"),
    "one offset": (file_of({"a": entry(offsets=(0,))}, bytes(8)), "data_offsets: expected two"),
    "offsets back to front": (file_of({"a": entry(offsets=(8, 0))}, bytes(8)), "expected two"),
    "a negative offset": (file_of({"a": entry(offsets=(-8, 0))}, bytes(8)), "expected two"),
    "offsets beyond all": (file_of({"a": entry(offsets=(BIG, BIG + 8))}, bytes(8)), "expected two"),
    "a gap at the beginning": (
        file_of({"a": entry(offsets=(4, 12))}, bytes(12)),
        "'a': data_offsets: expected to begin at byte 0",
    ),
    "a gap": (
        file_of({"a": entry(), "b": entry(offsets=(9, 17))}, bytes(17)),
        "'b': data_offsets: expected to begin at byte 8",
    ),
    "arrays that overlap": (
        file_of({"a": entry(), "b": entry(offsets=(4, 12))}, bytes(12)),
        "'b': data_offsets: expected to begin at byte 8",
    ),
    "the same place twice": (
        file_of({"a": entry(), "b": entry()}, bytes(8)),
        "'b': data_offsets: expected to begin at byte 8",
    ),
    "less data": (file_of({"a": entry()}, bytes(7)), "data: expected 8 bytes, got 7"),
    "more data": (file_of({"a": entry()}, bytes(9)), "data: expected 8 bytes, got 9"),
    "no metadata": (file_of({"a": entry()}, bytes(8)), "__metadata__"),
}


@pytest.mark.parametrize("what", HEADERS)
def test_fault_27_headers_that_lie(what, tmp_path):
    raw, words = HEADERS[what]
    (tmp_path / "a").write_bytes(raw)
    with pytest.raises(CheckpointDamagedError) as caught:
        fs.load(tmp_path / "a")
    assert words in str(caught.value)
    assert len(str(caught.value)) < 600 + len(str(tmp_path))
    assert str(caught.value).isprintable()
    assert refuses(tmp_path / "a")


def test_many_names_twice_are_found_at_once(tmp_path):
    """In one go: looking for each would take minutes."""
    names = b",".join(b'"%d":0' % i for i in range(200_000))
    (tmp_path / "a").write_bytes(file_of(b"{" + names + b',"199999":0}'))
    with pytest.raises(CheckpointDamagedError, match="'199999' twice"):
        fs.load(tmp_path / "a")
