"""What is no path, flag, optimizer or data is refused by name, before anything is written."""

import os
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep.checkpoint import CheckpointManager
from optimizers import refused, running


class Half:
    """It can be saved, and not loaded."""

    def state_dict(self):
        return {}


SAVE = {
    "path": ({"path": 3}, TypeError, "path: expected a path, got 3"),
    "bytes": ({"path": b"run"}, TypeError, "path: expected a path, got b'run'"),
    "no folder": ({"path": "none/run"}, FileNotFoundError, "expected a folder that exists"),
    "NUL": ({"path": "a\0b"}, ValueError, "null"),
    "opt": ({"opt": 3}, TypeError, "opt: expected an optimizer of fusedstep"),
    "opt, a dict": ({"opt": {}}, TypeError, "opt: expected an optimizer of fusedstep"),
    "extra": ({"extra": [1]}, TypeError, "extra: expected a mapping, got [1]"),
    "include_params": ({"include_params": 1}, TypeError, "include_params: expected True or False"),
    "background": ({"background": "yes"}, TypeError, "background: expected True or False"),
    "data": (
        {"data": 3},
        TypeError,
        "data: expected an object with state_dict and load_state_dict",
    ),
    "data, half": (
        {"data": Half()},
        TypeError,
        "data: expected an object with state_dict and load",
    ),
    "data by name": ({"data": {"a": Half()}}, TypeError, "data['a']: expected an object with"),
}


@pytest.fixture
def opt():
    return running("adam", "float32")


@pytest.fixture(autouse=True)
def _folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("what", SAVE)
def test_save(what, opt):
    change, error, words = SAVE[what]
    with refused(opt, error, words):
        fs.checkpoint.save(**{"path": "run", "opt": opt, **change})
    assert not [*Path().iterdir()]


def test_names_of_data_are_strings(opt):
    batches = fs.data.MiniBatches(np.zeros((4, 2)), batch_size=2)
    with refused(opt, TypeError, "data: expected strings as keys, got 1"):
        fs.checkpoint.save("run", opt=opt, data={1: batches})


def test_all_but_the_path_go_by_name(opt):
    with pytest.raises(TypeError):
        fs.checkpoint.save("run", opt)
    with pytest.raises(TypeError, match="opt"):
        fs.checkpoint.save("run")


@pytest.mark.parametrize("call", [fs.load, fs.checkpoint.load])
@pytest.mark.parametrize("path", [3, None, b"run"])
def test_load(call, path):
    with pytest.raises(TypeError, match="path: expected a path, got"):
        call(path)


def test_restore(opt):
    fs.checkpoint.save("run", opt=opt)
    saved = fs.load("run")
    for arguments, options, error, words in [
        ((opt,), {"strict": 1}, TypeError, "strict: expected True or False, got 1"),
        ((opt,), {"include_params": "no"}, TypeError, "include_params: expected True or False"),
        ((3,), {}, TypeError, "opt: expected an optimizer of fusedstep"),
        ((opt, 3), {}, TypeError, "data: expected an object with state_dict"),
        ((opt, Half()), {}, TypeError, "data: expected an object with state_dict"),
    ]:
        with refused(opt, error, words):
            saved.restore(*arguments, **options)
    for name, value in {"rule": "x", "step_count": 1, "params": {}, "arrays": {}}.items():
        with pytest.raises(AttributeError):
            setattr(saved, name, value)


def test_where_a_folder_is(opt):
    Path("folder").mkdir()
    for path in ("folder", "", "."):
        with refused(opt, OSError):
            try:
                opt.save(path)
            except OSError as error:
                raise OSError from error
    assert [*Path().rglob("*"), *Path().parent.glob(".*.tmp")] == [Path("folder")]


def test_links_lead_to_the_file(opt):
    Path("folder").mkdir()
    Path("link").symlink_to("folder/run")
    opt.save("link")
    opt.save("link")
    assert Path("link").is_symlink()
    assert [path.name for path in Path("folder").iterdir()] == ["run"]
    opt.load("folder/run")


def test_the_umask_is_that_of_any_file(opt):
    before = os.umask(0o027)
    try:
        opt.save("run")
    finally:
        os.umask(before)
    assert Path("run").stat().st_mode & 0o777 == 0o640


MANAGER = {
    "directory": (lambda: CheckpointManager(3), TypeError, "path: expected a path, got 3"),
    "keep": (lambda: CheckpointManager("run", 0), ValueError, "keep: expected an integer >= 1"),
    "keep, a float": (
        lambda: CheckpointManager("run", 2.0),
        TypeError,
        "keep: expected an integer",
    ),
    "a file": (lambda: CheckpointManager("file"), FileExistsError, "file"),
}


@pytest.mark.parametrize("what", MANAGER)
def test_managers(what):
    call, error, words = MANAGER[what]
    Path("file").touch()
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(
    ("step", "error"), [(-1, ValueError), (1.0, TypeError), (True, TypeError), ("1", TypeError)]
)
def test_steps(step, error, opt):
    with refused(opt, error, "step: expected an integer >= 0, got"):
        CheckpointManager("run").save(step, opt)
    assert not [*Path("run").iterdir()]
