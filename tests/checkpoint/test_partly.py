"""A checkpoint of another model: parameters that were renamed, are new, or are no more."""

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from checkpoints import F32, save, trained, zeros
from optimizers import refused


@pytest.mark.parametrize(
    "names",
    [
        {"layer.w": "encoder.0.w", "layer.b": "encoder.0.b"},
        lambda name: name.replace("layer", "encoder.0"),
    ],
    ids=["mapping", "function"],
)
def test_renamed(names, tmp_path):
    theirs = trained({"layer.w": np.ones(2), "layer.b": np.ones(3), "head": np.ones(4)})
    theirs.freeze("layer.b")
    saved = save(tmp_path / "a", theirs)
    opt = fs.Adam(
        {f"encoder.0.{k}": np.zeros(n) for k, n in (("w", 2), ("b", 3))} | {"head": np.zeros(4)}
    )
    assert opt.load(tmp_path / "a", map_names=names) == ([], [])
    pairs = {"layer.w": "encoder.0.w", "layer.b": "encoder.0.b", "head": "head"}
    for old, new in pairs.items():
        assert same_bits(opt.params[new], theirs.params[old])
        assert same_bits(opt.state[new]["exp_avg"], theirs.state[old]["exp_avg"])
    assert opt.frozen == {"encoder.0.b"}
    assert [*saved.params] == [*theirs.params]  # the checkpoint is as it was


def test_exchanged_names(tmp_path):
    theirs = trained({"a": np.full(2, 1.0), "b": np.full(2, 2.0)})
    opt = fs.Adam({"a": np.zeros(2), "b": np.zeros(2)})
    save(tmp_path / "a", theirs).restore(opt, map_names={"a": "b", "b": "a"})
    assert same_bits(opt.params["a"], theirs.params["b"])
    assert same_bits(opt.params["b"], theirs.params["a"])


BAD_NAMES = [
    ({"x": "y"}, fs.CheckpointError, "no parameter in the checkpoint is named 'x'"),
    ({"a": "b"}, fs.CheckpointError, "expected one parameter for each name, got 'b' twice"),
    (lambda _: "a", fs.CheckpointError, "expected one parameter for each name, got 'a' twice"),
    ({"a": 3}, TypeError, "map_names: expected a name for 'a', got 3"),
    (lambda _: None, TypeError, "map_names: expected a name for 'a', got None"),
    (["a"], TypeError, "map_names: expected a mapping or a function, got ['a']"),
    ("a", TypeError, "map_names: expected a mapping or a function, got 'a'"),
    ({"a": "c"}, fs.CheckpointError, "parameter 'a': missing"),
]


@pytest.mark.parametrize(("names", "error", "words"), BAD_NAMES)
def test_bad_names(names, error, words, tmp_path):
    saved, opt = save(tmp_path / "a", trained(zeros(a=2, b=2))), trained(zeros(a=2, b=2))
    with refused(opt, error, words):
        saved.restore(opt, map_names=names)


def test_a_new_layer_starts_fresh(tmp_path):
    theirs = trained({"w": np.ones(2), "old": np.ones(3)}, lr=0.25, weight_decay=0.5, seed=3)
    opt = fs.Adam([{"params": {"new": np.ones(4)}, "lr": 0.5}, {"params": {"w": np.zeros(2)}}])
    opt.freeze("new")
    result = save(tmp_path / "a", theirs).restore(opt, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["new"], ["old"])
    assert same_bits(opt.params["w"], theirs.params["w"])
    assert same_bits(opt.params["new"], np.ones(4))
    assert opt.state["new"]["step"] == 0
    assert not opt.state["new"]["exp_avg"].any()
    assert opt.state["w"]["step"] == opt.step_count == 1
    assert [(group.lr, group["weight_decay"]) for group in opt.groups] == [(0.5, 0.0), (0.25, 0.5)]
    assert opt.frozen == {"new"}
    opt.unfreeze("new")
    opt.step({"w": np.ones(2), "new": np.ones(4)})


def test_what_both_have_must_match_all_the_same(tmp_path):
    saved = save(tmp_path / "a", trained(zeros(w=(2, 3), old=1)))
    opt = trained(zeros(w=(3, 2), new=1))
    with refused(opt, fs.CheckpointError, "parameter 'w': expected shape (3, 2), got (2, 3)"):
        saved.restore(opt, strict=False)
    other = trained(zeros(w=(2, 3)), "adamw")
    with refused(other, fs.CheckpointError, "rule: expected 'adamw', got 'adam'"):
        saved.restore(other, strict=False)


@pytest.mark.parametrize("bias", [False, True])
def test_an_average_only_here_or_only_there(bias, tmp_path):
    how = {"ema_decay": 0.75, "ema_bias_correction": bias}
    with_it, without = (lambda: trained(zeros(w=3), **how)), (lambda: trained(zeros(w=3)))
    opt = with_it()
    average = opt.ema["w"].copy()
    result = save(tmp_path / "a", without()).restore(opt, strict=False)
    assert result == (["w.ema"], [])
    assert same_bits(opt.ema["w"], average)
    opt.step({"w": np.ones(3, F32)})
    assert not same_bits(opt.ema["w"], average)

    opt = without()
    assert save(tmp_path / "a", with_it()).restore(opt, strict=False) == ([], ["w.ema"])
    opt.step({"w": np.ones(3, F32)})  # it has none, and needs none
    assert "ema" not in opt.state["w"]
    opt.save(tmp_path / "b", include_params=True)
    assert without().load(tmp_path / "b") == ([], [])


def test_without_parameters_in_the_checkpoint(tmp_path):
    theirs = trained({"a": np.ones(2), "b": np.ones(3)})
    saved = save(tmp_path / "a", theirs, include_params=False)
    opt = fs.Adam({"a": np.ones(2), "c": np.ones(3)})
    assert saved.restore(opt, strict=False) == (["c"], ["b"])
    assert same_bits(opt.state["a"]["exp_avg"], theirs.state["a"]["exp_avg"])
    assert same_bits(opt.params["a"], np.ones(2))
