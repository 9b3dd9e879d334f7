"""A checkpoint of something else: every difference in one error, matched by name."""

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from checkpoints import changed, save, trained, zeros
from optimizers import refused


def test_fault_29_every_difference_in_one_error(tmp_path):
    theirs = trained({**zeros(w=(2, 3), old=2, same=4), "wide": np.zeros(3)}, "adamw", lr=0.25)
    opt = trained(zeros(w=(3, 2), new=2, same=4, wide=3))
    path = tmp_path / "a"
    saved = save(path, theirs)
    expected = [
        "rule: expected 'adam', got 'adamw'",
        "parameter 'new': missing",
        "parameter 'old': unexpected",
        "parameter 'w': state 'exp_avg': expected shape (3, 2), got (2, 3)",
        "parameter 'w': state 'exp_avg_sq': expected shape (3, 2), got (2, 3)",
        "parameter 'wide': state 'exp_avg': expected dtype float32, got float64",
        "parameter 'wide': state 'exp_avg_sq': expected dtype float32, got float64",
        "parameter 'w': expected shape (3, 2), got (2, 3)",
        "parameter 'wide': expected dtype float32, got float64",
        "group 0: expected the parameters ['w', 'new', 'same', 'wide'], got ['w', 'old', 'same', 'wide']",
    ]
    with refused(opt, fs.CheckpointError, str(path), "this Adam", *expected):
        saved.restore(opt)
    with pytest.raises(fs.CheckpointError) as caught:
        opt.load(path)
    assert set(expected) <= set(caught.value.differences)
    assert len(caught.value.differences) == len(expected)


def test_fault_29_many_differences_are_all_in_the_error(tmp_path):
    saved = save(tmp_path / "a", trained(zeros(**{f"a{i}": 1 for i in range(300)})))
    opt = trained(zeros(**{f"b{i}": 1 for i in range(300)}))
    with refused(opt, fs.CheckpointError, "parameter 'b0': missing", "..."):
        saved.restore(opt)
    with pytest.raises(fs.CheckpointError) as caught:
        saved.restore(opt)
    assert len(str(caught.value)) < 4000
    assert len(caught.value.differences) == 601


GROUPS = {
    "other groups": (lambda a, b: [{"params": a}, {"params": b}], "groups: expected 2, got 1"),
    "one less": (lambda a, _: a, "parameter 'b': unexpected"),
    "other names": (lambda a, _: {"c": a["a"]}, "parameter 'c': missing"),
}


@pytest.mark.parametrize("what", GROUPS)
def test_fault_29_other_groups(what, tmp_path):
    saved = save(tmp_path / "a", trained(zeros(a=2, b=2)))
    params, words = GROUPS[what]
    opt = fs.Adam(params(zeros(a=2), zeros(b=2)))
    with refused(opt, fs.CheckpointError, words):
        saved.restore(opt)


def test_fault_29_by_name_never_by_position(tmp_path):
    theirs = trained({"a": np.full(2, 1.0), "b": np.full(2, 2.0)})
    opt = fs.Adam({"b": np.zeros(2), "a": np.zeros(2)})
    save(tmp_path / "a", theirs).restore(opt)
    for name in "ab":
        assert same_bits(opt.params[name], theirs.params[name])
        assert same_bits(opt.state[name]["exp_avg"], theirs.state[name]["exp_avg"])


STORED = {
    "state_dtype": ({"state_dtype": "8bit", "min_8bit_size": 0}, "exp_avg_scale"),
    "ema_decay": ({"ema_decay": 0.5}, "state 'ema'"),
    "amsgrad": ({"amsgrad": True}, "state 'max_exp_avg_sq'"),
}


@pytest.mark.parametrize("what", STORED)
def test_fault_29_what_is_stored_otherwise(what, tmp_path):
    options, words = STORED[what]
    with_it, without = (lambda: trained(zeros(w=5), **options)), (lambda: trained(zeros(w=5)))
    for there, here, how in ((with_it, without, "unexpected"), (without, with_it, "missing")):
        saved, opt = save(tmp_path / "a", there()), here()
        with refused(opt, fs.CheckpointError, f"{words} {how}" if what != "state_dtype" else words):
            saved.restore(opt)


def test_fault_29_a_newer_version(tmp_path):
    path, opt = tmp_path / "a", trained(zeros(w=5))
    save(path, opt)
    changed(path, lambda document: document.update(format=2, version="9.8.7\x1b" + "x" * 1000))
    words = ("format: expected at most 1, got 2", "saved by fusedstep 9.8.7", "newer version is")
    for call in (lambda: opt.load(path), lambda: fs.load(path)):
        with refused(opt, fs.CheckpointError, str(path), *words):
            call()
    with pytest.raises(fs.CheckpointError) as caught:
        fs.load(path)
    assert len(str(caught.value)) < 600
    assert str(caught.value).isprintable()


NO_COUNTERS = [-1, 2**63, 1.0, None, True, "1"]


@pytest.mark.parametrize("count", NO_COUNTERS)
def test_fault_29_counters_that_are_none(count, tmp_path):
    path, opt = tmp_path / "a", trained(zeros(w=5))
    save(path, opt)
    changed(path, lambda document: document["optimizer"]["steps"].update(w=count))
    with refused(opt, fs.CheckpointError, "parameter 'w': step: expected an integer from 0"):
        opt.load(path)


@pytest.mark.parametrize(
    ("option", "value"), [("lr", float("nan")), ("lr", -1), ("betas", [2, 0]), ("lr", "x")]
)
def test_fault_29_options_that_are_none(option, value, tmp_path):
    path, opt = tmp_path / "a", trained(zeros(w=5))
    save(path, opt)
    changed(path, lambda document: document["optimizer"]["groups"][0].update({option: value}))
    with refused(opt, fs.CheckpointError, f"group 0: {option}"):
        opt.load(path)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": -1}, "seed: expected"),
        ({"ema_decay": 2.0}, "ema_decay: expected"),
        ({"skip_nonfinite": 1}, "skip_nonfinite: expected True or False"),
        ({"skip_nonfinite": True, "error_if_nonfinite": True}, "exclude each other"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_fault_29_bad_options_of_the_whole(change, words, tmp_path):
    path, opt = tmp_path / "a", trained(zeros(w=5), ema_decay=0.5)
    save(path, opt)
    changed(path, lambda document: document["optimizer"]["policy"].update(change))
    with refused(opt, fs.CheckpointError, "options of the whole optimizer", words):
        opt.load(path)
