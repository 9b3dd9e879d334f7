"""``zero_grads``: which gradients a step zeroes, and which it leaves."""

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import numbers


@every_rule
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sets", [1, 2])
def test_gradients_of_frozen_parameters_are_zeroed_too(rule, dtype, sets):
    opt = fs.create(rule, numbers(1, dtype))
    opt.freeze("middle")
    frozen = opt.params["middle"].copy()
    grads = [numbers(seed, dtype) for seed in range(2, 2 + sets)]
    opt.step_sum(grads, zero_grads=True)
    assert not any(array.any() for given in grads for array in given.values())
    assert (opt.params["middle"] == frozen).all()
    assert opt.state["middle"]["step"] == 0

    opt.unfreeze("middle")
    after = numbers(9, dtype)
    control = fs.create(rule, {"middle": frozen.copy()})
    opt.step(after)
    control.step({"middle": after["middle"]})
    assert (opt.params["middle"] == control.params["middle"]).all()


def test_without_zero_grads_they_stay():
    opt = fs.SGD(numbers(1, "float32"), lr=0.1)
    opt.freeze(*opt.params)
    grads = numbers(2, "float32")
    before = {name: grad.copy() for name, grad in grads.items()}
    opt.step(grads)
    assert all((grads[name] == before[name]).all() for name in grads)


def test_a_step_that_is_skipped_zeroes_none_of_them():
    opt = fs.SGD(numbers(1, "float32"), lr=0.1, skip_nonfinite=True)
    opt.freeze("last")
    grads = numbers(2, "float32")
    grads["first"][0, 0] = np.nan
    kept = grads["last"].copy()
    assert not opt.step(grads, zero_grads=True).applied
    assert (grads["last"] == kept).all()
