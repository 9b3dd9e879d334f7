"""Any bytes are a checkpoint or a CheckpointError: a target of atheris (tests/fuzz/run.py).

An input is what is done to a small valid file. Most damage is found by its checksums, so that what
comes after them would never be tried: some inputs change what the file says, and then seal it anew,
as a program would that writes such a file on purpose.
"""

import copy
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path

import atheris
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
from sealed import parts_of, sealed

with atheris.instrument_imports(include=["fusedstep.checkpoint", "fusedstep._flat"]):
    import fusedstep as fs

FOLDER = Path(tempfile.mkdtemp())
FILE = FOLDER / "fuzzed.safetensors"
# Numbers, strings and structures that readers have stumbled over.
VALUES = (
    *(None, True, -1, 0, 1, 2, 64, 2**31, 2**62, 2**63, 2**64, 10**400, 0.5, 1e400, float("nan")),
    *(
        "",
        "fusedstep",
        "F32",
        "BF16",
        "F4",
        "é",
        "\ud800",
        "\0",
        "__array__",
        "ffffffff",
        "state.w.",
    ),
    *([], {}, [[]], [0, 0], [0, 2**62, 2**62], [1] * 65, [0, 12], {"__array__": "nothing"}),
)


def valid():
    """The bytes of a checkpoint with something of everything."""
    path = FOLDER / "valid.safetensors"
    params = {"w": np.ones((2, 3), np.float32), "b": np.ones(0, np.float32)}
    opt = fs.Adam(params, lr=0.1, ema_decay=0.5)
    opt.step({name: np.ones_like(value) for name, value in params.items()})
    fs.checkpoint.save(path, opt=opt, extra={"epoch": 3, "seen": np.arange(4)})
    return path.read_bytes()


VALID = valid()
OPT = fs.Adam({"w": np.ones((2, 3), np.float32), "b": np.ones(0, np.float32)}, ema_decay=0.5)


def places_in(value, place=()):
    """The paths to all parts of a nested value."""
    yield place
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from places_in(item, (*place, key))


def change(value, data):
    """Put another value in some place of a nested one, or take one away, or rename it."""
    places = [place for place in places_in(value) if place]
    if not places:
        return
    *above, key = places[data.ConsumeIntInRange(0, len(places) - 1)]
    for step in above:
        value = value[step]
    kind = data.ConsumeIntInRange(0, 3)
    new = copy.deepcopy(VALUES[data.ConsumeIntInRange(0, len(VALUES) - 1)])
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, dict):
        value[data.ConsumeUnicode(8)] = value.pop(key)
    else:
        value[key] = new if kind == 2 else data.ConsumeInt(8)


def bytes_from(data):
    """A file, as an input has it."""
    kind = data.ConsumeIntInRange(0, 3)
    if kind == 0:
        return data.ConsumeBytes(sys.maxsize)
    if kind == 1:
        raw = bytearray(VALID)
        for _ in range(data.ConsumeIntInRange(1, 4)):
            raw[data.ConsumeIntInRange(0, len(raw) - 1)] = data.ConsumeIntInRange(0, 255)
        return bytes(raw[: data.ConsumeIntInRange(0, len(raw))] if data.ConsumeBool() else raw)
    header, document, arrays = parts_of(VALID)
    for _ in range(data.ConsumeIntInRange(1, 4)):
        change(document if data.ConsumeBool() else header, data)
    return sealed(header, document, arrays)


def read_one(raw_input):
    """Load it, look at all of it, and go on from it."""
    raw = bytes_from(atheris.FuzzedDataProvider(raw_input))
    FILE.write_bytes(raw)
    tracemalloc.start()
    try:
        saved = fs.load(FILE)
        repr(saved), saved.params, saved.arrays, saved.state_dict(), saved.rule, saved.step_count
        for strict in (True, False):
            saved.restore(OPT, strict=strict)
    except fs.CheckpointError:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    # The file, twice; and what reading anything takes.
    if peak > 2 * len(raw) + (1 << 20):
        raise MemoryError(f"{peak} bytes for a file of {len(raw)}")


if __name__ == "__main__":
    os.chdir(FOLDER)
    atheris.Setup(sys.argv, read_one)
    atheris.Fuzz()
