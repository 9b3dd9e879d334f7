"""A folder of checkpoints: the newest are kept, and a training goes on from the newest intact one."""

import os
import re
import warnings

import numpy as np
import pytest

import fusedstep as fs
from checkpoints import changed
from fusedstep.checkpoint import CheckpointManager
from optimizers import refused


def make():
    return fs.Adam({"w": np.ones(5)})


def step(opt, count=1):
    for _ in range(count):
        opt.step({"w": np.ones(5)})
    return opt


def steps_in(folder):
    return sorted(int(re.search(r"\d+", path.name)[0]) for path in folder.iterdir())


@pytest.fixture
def trained(tmp_path):
    """A manager whose folder has checkpoints of the steps 1 to 4."""
    manager, opt = CheckpointManager(tmp_path / "run", keep=4), make()
    for _ in range(4):
        step(opt)
        manager.save(opt.step_count, opt, extra={"step": opt.step_count})
    return manager


def damage(path):
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("keep", [1, 3])
def test_the_newest_are_kept(keep, background, tmp_path):
    manager, opt = CheckpointManager(tmp_path / "deep" / "run", keep=keep), make()
    assert manager.latest() is None
    assert manager.restore(opt) is None
    for i in range(1, 6):
        path = manager.save(10 * i, step(opt), background=background)
    fs.checkpoint.wait()
    assert manager.latest() == path == manager.checkpoints()[-1]
    assert path.name == "step-000000000050.safetensors"
    assert steps_in(tmp_path / "deep" / "run") == [10 * i for i in range(6 - keep, 6)]
    other = make()
    assert manager.restore(other).step_count == other.step_count == 5


def test_data_parameters_and_extra(tmp_path):
    manager, opt = CheckpointManager(tmp_path), step(make())
    batches = fs.data.MiniBatches(np.zeros((9, 2)), batch_size=2)
    next(iter(batches))
    manager.save(1, opt, batches, extra={"a": 1}, include_params=False)
    other, rest = step(make(), 3), fs.data.MiniBatches(np.zeros((9, 2)), batch_size=2)
    before = other.params["w"].copy()
    saved = manager.restore(other, rest)
    assert (saved.extra, saved.path, dict(saved.params)) == ({"a": 1}, manager.latest(), {})
    assert rest.state_dict() == batches.state_dict()
    assert (other.params["w"] == before).all()
    manager.save(2, opt)
    manager.restore(other, include_params=False)
    assert (other.params["w"] == before).all()
    manager.restore(other)
    assert (other.params["w"] == opt.params["w"]).all()


def test_the_order_is_that_of_numbers(tmp_path):
    manager, opt = CheckpointManager(tmp_path, keep=9), make()
    for number in (5, 10**12, 10**15, 999, 0):
        manager.save(number, opt)
    names = [path.name for path in manager.checkpoints()]
    assert [int(re.search(r"\d+", name)[0]) for name in names] == [0, 5, 999, 10**12, 10**15]


def test_fault_26_the_newest_intact_one(trained, tmp_path):
    paths = trained.checkpoints()
    damage(paths[3])
    os.truncate(paths[2], 100)
    opt = make()
    with pytest.warns(RuntimeWarning, match=r"going on from step-000000000002.*damaged") as caught:
        assert trained.restore(opt).extra == {"step": 2}
    assert opt.step_count == 2
    text = str(caught[0].message)
    assert all(part in text for part in (paths[3].name, paths[2].name, "checksum", "byte 0"))
    assert caught[0].filename == __file__
    assert steps_in(tmp_path / "run") == [1, 2, 3, 4]
    for _ in range(2):  # the run that goes on writes them anew
        trained.save(step(opt).step_count, opt)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trained.restore(make()).step_count == 4


@pytest.mark.parametrize("kind", ["empty", "text", "safetensors", "length", "zeros"])
def test_fault_27_whatever_has_become_of_the_newest(kind, trained):
    path = trained.latest()
    raw = bytearray(path.read_bytes())
    if kind == "safetensors":
        raw = raw.replace(b'"fusedstep":', b'"fusedstop":')
    elif kind == "length":
        raw[3] ^= 64
    else:
        raw = {"empty": b"", "text": b"loss 0.25\n" * 20, "zeros": bytes(len(raw))}[kind]
    path.write_bytes(raw)
    opt = make()
    with pytest.warns(RuntimeWarning, match="newer checkpoints are damaged"):
        assert trained.restore(opt).step_count == 3


def test_all_are_damaged(trained):
    for path in trained.checkpoints():
        damage(path)
    opt = step(make())
    with refused(opt, fs.CheckpointError, "expected an intact checkpoint, got damaged ones"):
        trained.restore(opt)
    with pytest.raises(fs.CheckpointError) as caught:
        trained.restore(opt)
    assert len(caught.value.differences) == 4


def test_fault_29_what_is_newer_or_another_is_not_skipped(trained):
    changed(trained.latest(), lambda document: document.update(format=2))
    opt = step(make())
    with warnings.catch_warnings(), refused(opt, fs.CheckpointError, "format: expected at most 1"):
        warnings.simplefilter("error")
        trained.restore(opt)
    trained.latest().unlink()
    other = fs.Adam({"v": np.ones(5)})
    with refused(other, fs.CheckpointError, "parameter 'v': missing"):
        trained.restore(other)


def test_a_run_that_began_anew_keeps_what_it_saves(tmp_path):
    """Later checkpoints are damaged, or of a run that was given up."""
    manager, opt = CheckpointManager(tmp_path, keep=1), make()
    manager.save(300, step(opt))
    damage(manager.latest())
    for number in (210, 220):
        path = manager.save(number, step(opt))
        assert path.exists()
    assert steps_in(tmp_path) == [220, 300]
    with pytest.warns(RuntimeWarning, match="step-000000000220"):
        assert manager.restore(make()).step_count == 3
    manager.save(300, step(opt))
    assert steps_in(tmp_path) == [300]


def leftovers(folder, name="step-000000000007.safetensors"):
    for token in ("0123abcd", "ffffffff"):
        (folder / f".{name}.{token}.tmp").write_bytes(b"half of a file")


def test_fault_26_leftovers_are_removed_and_nothing_else(tmp_path):
    leftovers(tmp_path)
    others = {
        ".cache.tmp",
        ".step-000000000007.safetensors.tmp",
        "step-1.safetensors.0123abcd.tmp",
        ".other.safetensors.0123abcd.tmp",
        ".step-x.safetensors.0123abcd.tmp",
        "notes",
        "step-x.safetensors",
    }
    for name in others:
        (tmp_path / name).write_text("mine")
    manager = CheckpointManager(tmp_path, keep=1)
    assert {path.name for path in tmp_path.iterdir()} == others
    assert manager.checkpoints() == []
    for i in range(3):
        manager.save(i, make())
    assert {path.name for path in tmp_path.iterdir()} == others | {"step-000000000002.safetensors"}


def test_fault_26_a_save_without_a_manager_removes_its_leftovers(tmp_path):
    leftovers(tmp_path, "a.safetensors")
    leftovers(tmp_path, "b.safetensors")
    leftovers(tmp_path, "xa.safetensors")
    make().save(tmp_path / "a.safetensors")
    names = {path.name.partition(".safetensors")[0] for path in tmp_path.iterdir()}
    assert names == {"a", ".b", ".xa"}


def test_the_file_of_a_living_writer_remains(monkeypatch, tmp_path):
    manager, opt, fsync = CheckpointManager(tmp_path), make(), os.fsync

    def meanwhile(descriptor):
        monkeypatch.setattr(os, "fsync", fsync)
        CheckpointManager(tmp_path)
        assert len([*tmp_path.glob(".*")]) == 1
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", meanwhile)
    manager.save(1, opt)
    assert steps_in(tmp_path) == [1]


def test_a_folder_that_is_gone(tmp_path):
    manager = CheckpointManager(tmp_path / "run")
    (tmp_path / "run").rmdir()
    opt = make()
    with refused(opt, FileNotFoundError, "path: expected a folder that exists"):
        manager.save(1, opt)
    with pytest.raises(FileNotFoundError):
        manager.latest()


def test_its_repr(tmp_path):
    assert repr(CheckpointManager(tmp_path, 2)) == f"CheckpointManager({str(tmp_path)!r}, keep=2)"
