"""Saving streams and loading maps: what either takes beside the state is bounded, however large that is."""

import mmap

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from checkpoints import trained
from interpreters import python

ROOM = 64 * 2**20

MEASURE = """
import sys, threading, time
import numpy as np
import fusedstep as fs

def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) << 10 for line in status if line.startswith("RssAnon"))

class Extra(threading.Thread):
    '''The most that is taken while it looks.'''

    def __enter__(self):
        self.before = self.most = anonymous()
        self.goes_on = True
        self.start()
        return self

    def run(self):
        while self.goes_on:
            self.most = max(self.most, anonymous())
            time.sleep(0.0005)

    def __exit__(self, *_):
        self.goes_on = False
        self.join()
        print(self.most - self.before)

path, order = sys.argv[1:]
shape = {"C": (1000, 6_000), "F": (2, 3_000_000), "turned": (100, 300, 200)}[order]
arrays = {name: np.zeros(shape, np.float32, order="C" if order == "C" else "F") for name in "wv"}
if order == "turned":
    arrays = {name: np.zeros((300, 200, 100), np.float32).transpose(2, 0, 1) for name in "wv"}
opt = fs.Adam(arrays)
opt.step({name: np.ones_like(array) for name, array in arrays.items()})
fs.SGD({"w": np.ones(3)}).save(path)  # what it imports
fs.load(path)
with Extra():
    opt.save(path, include_params=True)
with Extra():
    saved = fs.load(path)
with Extra():
    saved.restore(opt)
assert opt.step_count == 1 and (opt.state["w"]["exp_avg"] == np.float32(0.1)).all()
"""


@pytest.mark.parametrize("order", ["C", "F", "turned"])
def test_what_a_large_state_takes(order, tmp_path):
    """144 MB of parameters and state, in memory orders that are the file's and are not."""
    done = python(MEASURE, str(tmp_path / "a"), order, FUSEDSTEP_NUM_THREADS="1")
    assert done.returncode == 0, done.stderr
    saving, loading, restoring = map(int, done.stdout.split())
    assert (tmp_path / "a").stat().st_size > 2 * ROOM
    assert saving <= ROOM
    assert loading <= ROOM
    # Values in another memory order than the file's are brought into it before the first write.
    assert restoring <= (ROOM if order == "C" else (tmp_path / "a").stat().st_size + ROOM)


LIES = """
import resource, sys
import fusedstep as fs
from pathlib import Path

path = Path(sys.argv[1])
size = path.stat().st_size
with open("/proc/self/statm") as statm:
    now = int(statm.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + 3 * size, -1))
try:
    fs.load(path)
except fs.checkpoint.CheckpointDamagedError as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["length", "shape", "cut", "flipped", "zeros"])
def test_fault_27_memory_is_bounded_by_the_file(what, tmp_path):
    """Beside the mapping, address space for twice the file is enough, whatever the file says."""
    path = tmp_path / "a"
    fs.checkpoint.save(path, opt=trained({"w": np.ones(1_000_000)}))
    raw = bytearray(path.read_bytes())
    if what == "length":
        raw[:8] = (len(raw) - 8).to_bytes(8, "little")
    elif what == "shape":
        raw = raw.replace(b"[1000000]", b"[9999999]")
    elif what == "cut":
        del raw[-1:]
    elif what == "flipped":
        raw[-5] ^= 4
    else:
        raw[8:] = bytes(len(raw) - 8)
    path.write_bytes(raw)
    done = python(LIES, str(path))
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(path) in done.stdout


def test_a_mapping_of_the_old_file_remains(tmp_path):
    opt = trained({"w": np.ones(50_000)})
    fs.checkpoint.save(tmp_path / "a", opt=opt)
    raw, saved = (tmp_path / "a").read_bytes(), fs.load(tmp_path / "a")
    before = opt.params["w"].copy()
    with (tmp_path / "a").open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    for background in (False, True):
        opt.step({"w": np.ones(50_000)})
        fs.checkpoint.save(tmp_path / "a", opt=opt, background=background)
        fs.checkpoint.wait()
        assert mapping[:] == raw
        assert same_bits(saved.params["w"], before)
    (tmp_path / "a").unlink()
    assert same_bits(saved.params["w"], before)
    other = fs.Adam({"w": np.zeros(50_000)})
    saved.restore(other)
    assert same_bits(other.params["w"], before)


def test_what_is_mapped_is_read_only(tmp_path):
    fs.checkpoint.save(tmp_path / "a", opt=trained({"w": np.ones(3), "none": np.ones((0, 2))}))
    saved = fs.load(tmp_path / "a")
    for array in [*saved.arrays.values(), *saved.params.values()]:
        assert not array.flags.writeable
    with pytest.raises(TypeError):
        saved.params["w"] = 1
