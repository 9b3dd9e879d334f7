"""Parameters that hold their averages for a while: swapped_in, eval and train."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from interrupts import interrupted_everywhere

SIZE = 1 << 20


def averaged(shape=3, names="abc", **options):
    params = {name: np.ones(shape, "float32") for name in names}
    opt = fs.Adam(params, ema_decay=0.5, **options)
    for _ in range(3):
        opt.step({name: np.ones(shape, "float32") for name in names})
    return opt, opt.ema.swapped_in


def schedule_free(shape=3, names="abc"):
    params = {name: np.ones(shape, "float32") for name in names}
    opt = fs.ScheduleFreeAdamW(params, lr=0.1)
    for _ in range(3):
        opt.step({name: np.ones(shape, "float32") for name in names})

    @contextmanager
    def evaluated():
        opt.eval()
        try:
            yield
        finally:
            opt.train()

    return opt, evaluated


KINDS = pytest.mark.parametrize(
    "make", [averaged, lambda *a: averaged(*a, ema_bias_correction=True), schedule_free]
)


def held(opt):
    return {name: param.copy() for name, param in opt.params.items()}


def is_same(opt, values):
    return all(same_bits(opt.params[name], value) for name, value in values.items())


@KINDS
def test_fault_36_no_swap_falls_into_a_step(make):
    opt, swap = make(SIZE, "a")
    grads, done, refused = {"a": np.ones(SIZE, "float32")}, threading.Event(), []

    def work():
        while not done.is_set():
            try:
                opt.step(grads)
            except RuntimeError as error:
                refused.append(str(error))

    thread = threading.Thread(target=work)
    thread.start()
    for _ in range(20):
        with swap():
            inside = opt.params["a"].copy()
            count = opt.step_count
            assert (inside == inside[0]).all()
            assert opt.step_count == count
            assert same_bits(opt.params["a"], inside)
    done.set()
    thread.join()
    assert all("cannot step " in words for words in refused)
    param = opt.params["a"]
    assert (param == param[0]).all()


@KINDS
def test_fault_36_a_locked_parameter_leaves_all_as_they_were(make):
    opt, swap = make()
    before = held(opt)
    opt.params["b"].flags.writeable = False
    with pytest.raises(ValueError, match="'b': expected a writeable"), swap():
        pass
    assert is_same(opt, before)
    opt.params["b"].flags.writeable = True
    opt.step({"a": np.ones(3, "float32")})
    assert not is_same(opt, before)


@KINDS
def test_a_parameter_that_is_locked_meanwhile(make):
    opt, swap = make()
    before = held(opt)
    with pytest.raises(ValueError, match="'b': expected a writeable"), swap():  # noqa: PT012
        inside = held(opt)
        opt.params["b"].flags.writeable = False
    assert is_same(opt, inside)  # none is restored
    gradient = {"c": np.zeros(3, "float32")}
    with pytest.raises(ValueError, match="'b': expected a writeable"):
        opt.step(gradient)
    assert is_same(opt, inside)
    opt.params["b"].flags.writeable = True
    opt.freeze(*opt.params)
    opt.step(gradient)  # which restores them first
    assert is_same(opt, before)
    with swap():
        assert is_same(opt, inside)
    assert is_same(opt, before)


@KINDS
def test_fault_36_ctrl_c_anywhere_in_a_swap_leaves_all_or_nothing(make):
    def check(state, through):
        opt = state["opt"]
        if hasattr(opt, "train"):
            opt.train()
        assert is_same(opt, state["before"])
        opt.step({"a": np.ones(3, "float32")})
        assert not through or not is_same(opt, state["inside"])

    def fresh():
        opt, swap = make()
        return {"opt": opt, "swap": swap, "before": held(opt)}

    def call(state):
        with state["swap"]():
            state["inside"] = held(state["opt"])

    interrupted_everywhere(fresh, call, check)
