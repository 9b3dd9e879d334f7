"""The state as a dict of one level, through npz: without pickle, and to the same bits."""

import io
import json

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from narrow_modes import MODES, name_of, storage
from narrow_modes import numbers as narrow_numbers
from optimizers import NAMES, numbers, refused, richest, running, same_everywhere

DTYPES = ("float32", "float64", "bfloat16", "float16")


def through_npz(flat):
    file = io.BytesIO()
    np.savez(file, **flat)
    file.seek(0)
    return np.load(file, allow_pickle=False)


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
def test_fault_16_28_through_npz(rule, dtype):
    pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: test)")
    straight = running(rule, dtype)
    flat = straight.state_dict(flat=True)
    assert {type(value) for value in flat.values()} <= {int, float, bool, str, np.ndarray}
    params = {name: param.copy() for name, param in straight.params.items()}
    resumed = fs.create(rule, params, **richest(rule))
    resumed.load_state_dict(through_npz(flat))
    for opt in (straight, resumed):
        for seed in (4, 5, 6):
            opt.step(numbers(seed, dtype))
    assert same_everywhere(resumed, straight)
    groups = [[*group.items()] for group in straight.groups]
    assert [[*group.items()] for group in resumed.groups] == groups


@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_each_way_to_store_through_npz(mode):
    def make(seed):
        w = narrow_numbers(np.random.default_rng(seed), 700, mode["param"])
        return fs.AdamW({"w": w}, **storage(mode), ema_decay=0.5)

    straight, resumed = make(1), make(9)
    straight.step({"w": narrow_numbers(np.random.default_rng(2), 700, "float32")})
    resumed.load_state_dict(through_npz(straight.state_dict(flat=True)))
    for key, array in straight.state["w"].items():
        assert np.array_equal(array, resumed.state["w"][key]), key


def test_its_keys():
    flat = running("adam", "float32").state_dict(flat=True)
    state = {f"state.{name}.{key}" for name in NAMES for key in ("step", "exp_avg", "exp_avg_sq")}
    assert state <= flat.keys()
    assert flat.keys() - state > {"format", "rule", "step_count", "groups.0.params", "groups.0.lr"}
    assert flat["groups.0.params"].tolist() == [*NAMES]
    assert flat["state.last.step"] == flat["step_count"] == 2


def many_groups(seed, order=1):
    """More than ten, which a format that sorts its keys brings into another order."""
    arrays = numbers(seed, "float32", names=[f"p.{i}" for i in range(12)])
    groups = [{"params": {n: a}, "lr": 0.1 / (i + 1)} for i, (n, a) in enumerate(arrays.items())]
    return fs.Adam(groups[::order])


@pytest.mark.parametrize("order", [sorted, reversed])
def test_groups_are_in_order_whatever_that_of_the_keys_is(order):
    straight = many_groups(1)
    straight.step(numbers(2, "float32", names=[*straight.params]))
    flat = straight.state_dict(flat=True)
    resumed = many_groups(9)
    resumed.load_state_dict({key: flat[key] for key in order([*flat])})
    assert [group.lr for group in resumed.groups] == [0.1 / (i + 1) for i in range(12)]
    for name, own in straight.state.items():
        assert all(np.array_equal(own[key], resumed.state[name][key]) for key in own)


def test_through_json():
    straight = running("sgd", "float64")
    flat = straight.state_dict(flat=True)
    text = json.dumps({key: np.asarray(value).tolist() for key, value in flat.items()})
    plain = {k: np.array(v) if "buffer" in k else v for k, v in json.loads(text).items()}
    resumed = fs.create("sgd", dict(straight.params), **richest("sgd"))
    resumed.load_state_dict(plain)
    assert same_everywhere(resumed, straight)


def test_bad_ones():
    opt = running("adam", "float32")
    good = opt.state_dict(flat=True)
    for change, words in [
        ({"state.first.exp_avg": np.zeros(3, np.float32)}, "expected shape (3, 5), got (3,)"),
        ({"state.other.step": 1}, "parameter 'other': unexpected"),
        ({"groups.x.lr": 1.0}, "got a group 'x'"),
        ({"groups.1.params": np.array(["a"])}, "groups: expected 1, got 2"),
        ({"state": 1}, "state"),
        ({"groups.0.lr": "fast"}, "lr: expected"),
        ({"rule": np.array("sgd")}, "rule: expected 'adam', got 'sgd'"),
    ]:
        with refused(opt, ValueError, words):
            opt.load_state_dict({**good, **change})
    for key in ("rule", "step_count", "format"):
        with refused(opt, ValueError, f"missing keys: {key}"):
            opt.load_state_dict({k: v for k, v in good.items() if k != key})
    with pytest.raises(TypeError, match="flat: expected True or False"):
        opt.state_dict(flat=1)
