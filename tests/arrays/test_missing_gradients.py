"""Steps without any gradient, which would do nothing and look like success."""

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import everything, refused, running


def nothing(names):
    return {
        "no names": {},
        "None by name": dict.fromkeys(names),
        "None": None,
    }


CALLS = {
    "step": lambda opt, grads, **how: opt.step(grads, **how),
    "step_mean": lambda opt, grads, **how: opt.step_mean([grads, grads], **how),
    "step_sum": lambda opt, grads, **how: opt.step_sum([grads], **how),
}


@every_rule
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("what", nothing([]))
def test_fault_37_a_step_needs_a_gradient(rule, call, what):
    opt = running(rule, "float32")
    grads = nothing([*opt.params])[what]
    before = everything(opt)
    with refused(opt, ValueError, "gradients", "expected at least one, got none", "zero_grad()"):
        call(opt, grads)

    call(opt, grads, allow_empty=True)
    after = everything(opt)
    assert after[0] == before[0]  # only the count of steps has changed
    assert after[3] == before[3] + 1


def test_no_gradient_in_a_list():
    opt = fs.SGD([np.zeros(3), np.zeros(3)], lr=1.0)
    with pytest.raises(ValueError, match="expected at least one, got none"):
        opt.step([None, None])
    with pytest.raises(ValueError, match="expected at least one, got none"):
        opt.bind([None, None])


def test_none_does_not_mean_the_bound_gradients():
    w = np.zeros(3)
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.bind({"w": np.ones(3)})
    with pytest.raises(ValueError, match="expected at least one, got none"):
        opt.step(None)
    opt.step()
    assert (w == -1).all()
    with pytest.raises(TypeError, match="allow_empty: expected True or False, got 1"):
        opt.step({"w": np.ones(3)}, allow_empty=1)


def test_an_empty_array_is_a_gradient():
    opt = fs.SGD({"w": np.zeros((0, 3))}, lr=1.0)
    assert opt.step({"w": np.zeros((0, 3))}).applied


def test_an_average_of_nothing():
    ema = fs.EMA({"a": np.ones(3), "b": np.ones(3)}, decay=0.5)
    for none in ({}, {"a": None}, [None, None]):
        with pytest.raises((ValueError, TypeError)):
            ema.update(none)
    assert ema.step_count == 0
    ema.update()
    assert ema.step_count == 1
