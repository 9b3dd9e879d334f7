"""Disks that are full or broken, at every call of a save: the checkpoint before it loads."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from failing_calls import Calls
from interpreters import environment, python
from optimizers import refused

ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


class Saved:
    """A checkpoint after step 1, of an optimizer that is at step 2."""

    def __init__(self, folder):
        self.path = folder / "run"
        self.opt = fs.Adam({"w": np.ones(300), "v": np.ones((3, 4), np.float32)})
        self.step()
        self.save()
        self.step()

    def step(self):
        self.opt.step({"w": np.ones(300), "v": np.ones((3, 4), np.float32)})

    def save(self, **options):
        self.opt.save(self.path, include_params=True, **options)

    def found(self):
        """The step of the checkpoint, and that there is no other file."""
        assert [*self.path.parent.iterdir()] == [self.path]
        return fs.load(self.path).step_count


@pytest.fixture
def saved(tmp_path):
    return Saved(tmp_path)


def calls_of_a_save(monkeypatch, saved):
    with monkeypatch.context() as patch:
        calls = Calls(patch)
        saved.save()
    saved.step()
    return calls.names


def test_what_is_tried(monkeypatch, saved):
    names = calls_of_a_save(monkeypatch, saved)
    assert {"open", "write", "lseek", "fsync", "close", "replace"} <= {*names}
    file, folder = [i for i, name in enumerate(names) if name == "fsync"]
    assert file < names.index("replace") < folder
    assert names.count("write") == 3 * len(saved.opt.params) + 1  # two states of each; the header


@pytest.mark.parametrize("error", ERRORS)
def test_fault_26_every_call_fails(error, monkeypatch, saved):
    names = calls_of_a_save(monkeypatch, saved)
    renamed = names.index("replace")
    for at, name in enumerate(names):
        before = fs.load(saved.path).step_count
        with monkeypatch.context() as patch:
            calls = Calls(patch, fail_at=at, error=error)
            with refused(saved.opt, OSError, f"in {name}"):
                saved.save()
        assert calls.names[at] == name
        new = saved.opt.step_count if at > renamed else before
        assert saved.found() == new, (at, name)
        saved.step()
    saved.save()
    assert saved.found() == saved.opt.step_count


def test_fault_26_every_call_fails_in_the_background(monkeypatch, saved):
    names = calls_of_a_save(monkeypatch, saved)
    renamed = names.index("replace")
    for at, name in enumerate(names):
        before = fs.load(saved.path).step_count
        with monkeypatch.context() as patch:
            Calls(patch, fail_at=at)
            saved.save(background=True)
            with refused(saved.opt, fs.CheckpointError, str(saved.path), "OSError", f"in {name}"):
                fs.checkpoint.wait()
        fs.checkpoint.wait()  # told once
        new = saved.opt.step_count if at > renamed else before
        assert saved.found() == new, (at, name)
        saved.step()


def test_fault_26_writes_that_take_a_part(monkeypatch, saved):
    with monkeypatch.context() as patch:
        calls = Calls(patch, short=True)
        saved.save()
    assert calls.names.count("write") > 20
    assert saved.found() == 2


def test_fault_26_a_leftover_that_could_not_be_removed(monkeypatch, saved):
    def broken(*_):
        raise OSError(errno.EROFS, "the folder is broken")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", broken)
        patch.setattr(Path, "unlink", broken)
        with refused(saved.opt, OSError, "the folder is broken"):
            saved.save()
    assert len([*saved.path.parent.iterdir()]) == 2
    saved.save()  # removes it
    assert saved.found() == 2


@pytest.mark.parametrize("background", [False, True])
def test_fault_26_files_that_may_not_grow(background, saved):
    """The system's own error, at any size. Python ignores SIGXFSZ."""
    size = saved.path.stat().st_size
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    error = fs.CheckpointError if background else OSError
    for limit in range(0, size, size // 20):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            saved.save(background=background)
            fs.checkpoint.wait()
        except error as raised:
            found = raised
        else:
            found = None
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.strerror(errno.EFBIG) in str(found), limit
        assert saved.found() == 1
    saved.save()
    assert saved.found() == 2


FULL = """
import errno, os, sys
from pathlib import Path
import numpy as np
import fusedstep as fs

folder = Path(sys.argv[1])
manager = fs.checkpoint.CheckpointManager(folder, keep=3)
opt = fs.Adam({"w": np.ones(4_000)})
failed = 0
for step in range(1, 8):
    opt.step({"w": np.ones(4_000)})
    try:
        manager.save(step, opt, background=step % 2 == 0)
        fs.checkpoint.wait()
    except OSError as error:
        assert error.errno == errno.ENOSPC, error
        failed += 1
    except fs.CheckpointError as error:
        assert os.strerror(errno.ENOSPC) in str(error), error
        failed += 1
    saved = manager.restore(fs.Adam({"w": np.ones(4_000)}))
    assert saved.step_count == min(step, 2), (step, saved)
assert failed == 5, failed
assert [path.name[0] for path in folder.iterdir()] == ["s", "s"]
print("full")
"""


def test_fault_26_a_small_disk_that_is_full(tmp_path):
    """Two checkpoints fit."""
    mount = f"mount -t tmpfs -o size=240k none {tmp_path}"
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*alone, mount], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"only root may mount, if at all: {error}")
    script = tmp_path.with_name("script.py")
    script.write_text(FULL)
    done = subprocess.run(
        [*alone, f"{mount} && {sys.executable} {script} {tmp_path}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(),
    )
    assert done.stdout == "full\n", done.stderr


END = """
import os, sys
import numpy as np
import fusedstep as fs

def broken(descriptor):
    raise OSError(5, "the disk is broken")

os.fsync = broken
fs.checkpoint.save(sys.argv[1], opt=fs.Adam({"w": np.ones(3)}), background=True)
print("end")
"""


def test_fault_26_what_nobody_was_told_is_said_at_the_end(tmp_path):
    done = python(END, str(tmp_path / "run"))
    assert (done.returncode, done.stdout) == (0, "end\n")
    assert done.stderr == (
        f"fusedstep: {tmp_path / 'run'}: saving in the background has failed: OSError: [Errno 5] "
        "the disk is broken\n"
    )
    assert not [*tmp_path.iterdir()]
