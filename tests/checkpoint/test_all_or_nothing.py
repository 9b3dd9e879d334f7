"""Whatever cannot be loaded leaves optimizer, schedules and data as they were."""

import json
import re

import numpy as np
import pytest

import fusedstep as fs
from checkpoints import changed, save, trained, zeros
from fusedstep.schedules import Plateau
from interrupts import interrupted_everywhere
from optimizers import numbers, refused, richest, running, same_everywhere


class Data:
    """Whose state can be refused by this error, and changes before."""

    def __init__(self, error=None):
        self.at, self.error = 0, error

    def state_dict(self):
        return {"at": self.at}

    def load_state_dict(self, state):
        self.at = state["at"]
        if self.error and self.at == 5:
            raise self.error


@pytest.mark.parametrize(
    ("error", "raised"),
    [
        (ValueError("no such place"), fs.CheckpointError),
        (TypeError("no such place"), fs.CheckpointError),
        (KeyError("no such place"), KeyError),
        (KeyboardInterrupt("no such place"), KeyboardInterrupt),
    ],
)
def test_data_that_do_not_fit(error, raised, tmp_path):
    first, second = Data(), Data()
    first.at = second.at = 5
    saved = save(tmp_path / "a", trained(zeros(w=3)), data={"first": first, "second": second})
    opt, good, bad = fs.Adam(zeros(w=3)), Data(), Data(error)
    with refused(opt, raised, "no such place"):
        saved.restore(opt, {"first": good, "second": bad})
    assert (good.at, bad.at) == (0, 0)
    bad.error = None
    saved.restore(opt, {"first": good, "second": bad})
    assert (good.at, bad.at) == (5, 5)


def test_batches_of_other_data(tmp_path):
    data = fs.data.MiniBatches(np.zeros((10, 2)), batch_size=2)
    saved = save(tmp_path / "a", trained(zeros(w=3)), data=data)
    opt, other = fs.Adam(zeros(w=3)), fs.data.MiniBatches(np.zeros((12, 2)), batch_size=4)
    before = other.state_dict()
    with refused(opt, fs.CheckpointError, "data: ", "n_samples: expected 12, got 10", "batch_size"):
        saved.restore(opt, other)
    assert other.state_dict() == before


def test_optimizer_that_does_not_fit_leaves_data_alone(tmp_path):
    data = Data()
    data.at = 5
    saved = save(tmp_path / "a", trained(zeros(w=3)), data=data)
    opt, other = fs.Adam(zeros(w=4)), Data()
    with refused(opt, fs.CheckpointError, "expected shape (4,), got (3,)"):
        saved.restore(opt, other)
    assert other.at == 0


def test_a_schedule_whose_state_is_none(tmp_path):
    path = tmp_path / "a"
    theirs = trained(zeros(w=3), lr=Plateau(0.1, patience=0))
    theirs.groups[0]["lr"].update(1.0)
    save(path, theirs)
    changed(path, lambda d: d["optimizer"]["schedules"]["groups.0.lr"].update(num_bad=-1))
    plateau = Plateau(0.1, patience=0)
    opt, data = fs.Adam(zeros(w=3), lr=plateau), Data()
    before = plateau.state_dict()
    with refused(opt, fs.CheckpointError, "groups.0.lr", "num_bad"):
        opt.load(path)
    assert (plateau.state_dict(), data.at) == (before, 0)


def test_schedules_with_a_state_only_here_or_only_there(tmp_path):
    def following():
        return trained(zeros(w=3), lr=Plateau(0.1))

    for there, here in ((following(), trained(zeros(w=3))), (trained(zeros(w=3)), following())):
        saved = save(tmp_path / "a", there)
        with refused(here, fs.CheckpointError, "schedules with a state: expected"):
            saved.restore(here)


def test_schedules_go_back_where_arrays_do_not_fit(tmp_path):
    theirs = trained(zeros(w=3), lr=Plateau(0.1))
    theirs.groups[0]["lr"].update(1.0)
    saved = save(tmp_path / "a", theirs)
    plateau = Plateau(0.1)
    opt = fs.Adam(zeros(w=4), lr=plateau)
    before = plateau.state_dict()
    with refused(opt, fs.CheckpointError, "expected shape"):
        saved.restore(opt)
    assert plateau.state_dict() == before


def test_fault_05_a_locked_parameter(tmp_path):
    saved = save(tmp_path / "a", running("adam", "float32"))
    opt = fs.create("adam", numbers(9, "float32"), **richest("adam"))
    opt.params["last"].setflags(write=False)
    with refused(opt, ValueError, "'last'", "read-only"):
        saved.restore(opt)


def test_while_the_parameters_hold_other_values(tmp_path):
    opt = trained({"w": np.ones(3)}, ema_decay=0.5)
    saved = save(tmp_path / "a", opt)
    raw = (tmp_path / "a").read_bytes()
    with opt.ema.swapped_in():
        for background in (False, True):
            with refused(opt, RuntimeError, "save parameters"):
                fs.checkpoint.save(tmp_path / "a", opt=opt, background=background)
        with refused(opt, RuntimeError, "load parameters"):
            saved.restore(opt)
    assert (tmp_path / "a").read_bytes() == raw

    free = trained({"w": np.ones(3)}, "schedulefreeadamw")
    saved = save(tmp_path / "b", free)
    free.eval()
    for call in (
        lambda: free.save(tmp_path / "b"),
        lambda: saved.restore(free),
        lambda: free.load(tmp_path / "b", include_params=False),
    ):
        with refused(free, RuntimeError, "eval"):
            call()
    free.train()
    saved.restore(free)
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_parameters_that_are_not_there(tmp_path):
    opt = trained(zeros(w=3))
    opt.save(tmp_path / "a")
    with refused(opt, fs.CheckpointError, "include_params: expected parameters", "got none"):
        opt.load(tmp_path / "a", include_params=True)
    assert re.search(r"step 1, 1 parameters", repr(fs.load(tmp_path / "a")))
    assert json.loads(json.dumps(fs.load(tmp_path / "a").extra)) == {}


def test_fault_24_ctrl_c_anywhere_in_a_load(tmp_path):
    """Arrays, counters, options of groups and of the whole, frozen names: all of them, or none."""
    how = {"ema_decay": 0.5}
    theirs = trained({"a": np.ones(2), "b": np.ones(3)}, lr=0.25, skip_nonfinite=True, **how)
    theirs.freeze("a")
    saved = save(tmp_path / "a", theirs)
    seen = set()

    def make():
        opt = fs.Adam({"a": np.zeros(2), "b": np.zeros(3)}, **how)
        opt.freeze("b")
        return opt

    def check(opt, is_done):
        is_loaded = opt.step_count == 1
        control = theirs if is_loaded else make()
        assert same_everywhere(opt, control)
        assert (opt.lr, opt.frozen) == (control.lr, control.frozen)
        result = opt.step({name: np.full(p.shape, np.nan) for name, p in opt.params.items()})
        assert result.applied == (not is_loaded)
        assert is_loaded or not is_done
        seen.add(is_loaded)

    interrupted_everywhere(make, saved.restore, check)
    assert seen == {True, False}
