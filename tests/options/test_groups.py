"""Groups that are added later, and frozen parameters."""

import math

import numpy as np

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


def test_a_list_of_arrays_takes_a_list_of_arrays_as_another_group():
    arrays = [np.ones(3), np.ones(2), np.ones(4)]
    opt = fs.SGD(arrays[:2], lr=1.0)
    opt.add_group({"params": [arrays[2]]})
    assert list(opt.params) == ["0", "1", "1.0"]
    opt.step([[np.ones(3), np.ones(2)], [np.ones(4)]])
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
