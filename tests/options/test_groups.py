"""Groups that are added later, and frozen parameters."""

import math

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from reductions import grad_norm
from reference import Run


def test_groups_can_be_added():
    a, b = np.ones(3), np.ones(2)
    opt = fs.Adam({"a": a}, lr=0.1, ema_decay=0.5)
    opt.step({"a": np.ones(3)})
    opt.add_group({"params": {"b": b}, "lr": 0.2})
    opt.step([{"a": np.ones(3)}, {"b": np.ones(2)}])
    opt.step({"b": np.ones(2)})
    assert [opt.state[name]["step"] for name in "ab"] == [2, 2]
    assert [group.lr for group in opt.groups] == [0.1, 0.2]
    run = Run("adam", {"lr": 0.2}, np.ones(2))
    for _ in range(2):
        run.step(np.ones(2))
    assert same_bits(b, run.param)
    assert set(opt.ema) == {"a", "b"}


def test_a_group_is_a_mapping_of_its_options():
    group = fs.Adam({"w": np.ones(3)}, amsgrad=True).groups[0]
    assert len(group) == len(dict(group)) == len([*group])
    assert group.state_names == ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"]
    assert repr(group).startswith("Group(1 parameters, lr=0.001, ")


def test_groups_share_a_schedule_or_have_their_own():
    lines = [lambda step: 1.0 + step, lambda step: 10.0 * step]
    params = [{"params": [np.ones(1)], "lr": lines[i]} for i in (0, 0, 1)]
    opt = fs.SGD(params, lr=1.0)
    for expected in ([1.0, 1.0, 0.0], [2.0, 2.0, 10.0]):
        before = [float(own[0]) for own in opt.params.values()]
        opt.step([[np.ones(1)]] * 3)
        moved = [a - float(b[0]) for a, b in zip(before, opt.params.values(), strict=True)]
        assert moved == expected


def test_a_list_of_arrays_takes_a_list_of_arrays_as_another_group():
    arrays = [np.ones(3), np.ones(2), np.ones(4)]
    opt = fs.SGD(arrays[:2], lr=1.0)
    opt.add_group({"params": [arrays[2]]})
    assert list(opt.params) == ["0", "1", "1.0"]
    opt.step([[np.ones(3), np.ones(2)], [np.ones(4)]])
    assert not any(np.any(array) for array in arrays)


@pytest.mark.parametrize("change", ["shrink", "grow", "replace"])
@pytest.mark.parametrize("kind", [list, dict])
def test_a_group_is_added_to_the_arrays_that_were_handed_over(kind, change):
    """What becomes of the caller's list or mapping afterwards changes nothing."""
    a, b, c, other = (np.ones(3) for _ in range(4))
    handed = [a, b] if kind is list else {"0": a, "1": b}
    opt = fs.SGD(handed, lr=1.0, ema_decay=0.5)
    if change == "shrink":
        handed.pop(*[] if kind is list else "1")
    elif change == "grow":
        handed.update({"c": other}) if kind is dict else handed.append(other)
    else:
        handed[1 if kind is list else "1"] = other
    opt.add_group({"params": {"c": c}})
    assert {name: id(array) for name, array in opt.params.items()} == {
        "0": id(a),
        "1": id(b),
        "c": id(c),
    }
    if change == "replace":
        return  # steps are refused: test_changed_arrays.py
    opt.step({"c": np.full(3, 2.0)})
    assert np.all(c == -1)
    assert all(np.all(array == 1) for array in (a, b, other))
    with opt.ema.swapped_in():
        assert np.all(other == 1)


def test_many_groups_can_be_added():
    """Each joins those that are there, without a look at all of them again."""
    arrays = [np.ones(2) for _ in range(50)]
    opt = fs.SGD(arrays[:1], lr=1.0)
    for array in arrays[1:]:
        opt.add_group({"params": [array]})
    assert list(opt.params) == ["0", *(f"{i}.0" for i in range(1, 50))]
    opt.step([[np.ones(2)]] * 50)
    assert not any(np.any(array) for array in arrays)


def test_frozen_parameters_stay_as_they_are():
    w = {"a": np.ones(3), "b": np.ones(3)}
    opt = fs.SGD(w, lr=1.0, max_grad_norm=math.inf)
    grads = {"a": np.full(3, 2.0), "b": np.full(3, 4.0)}
    opt.freeze("a")
    assert opt.frozen == {"a"}
    assert opt.step(grads).grad_norm == grad_norm([None, grads["b"]])
    opt.bind(grads)
    opt.step()
    opt.unfreeze(*opt.params)
    opt.step()
    assert np.all(w["a"] == -1)
    assert np.all(w["b"] == -11)
    assert [opt.state[name]["step"] for name in "ab"] == [1, 3]
