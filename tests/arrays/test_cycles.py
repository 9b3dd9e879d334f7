"""Optimizers that their own arrays refer to are freed by Python's garbage collector."""

import gc
import weakref

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import needs_dlpack, richest


@pytest.fixture(autouse=True)
def _little_to_look_through():
    """What is here already, all of torch among it, which would take a second each time."""
    gc.freeze()
    yield
    gc.unfreeze()


class Labelled(np.ndarray):
    """An array with attributes."""


def labelled(dtype="float32"):
    return np.ones(3, dtype).view(Labelled)


def is_freed(array, *holders):
    """Whether nothing holds them any more, once the caller has let go of them."""
    array.holders = holders
    last = [weakref.ref(thing) for thing in (array, *holders)]
    del array, holders
    return lambda: gc.collect() >= 0 and not any(ref() is not None for ref in last)


@every_rule
def test_a_parameter_that_refers_to_its_optimizer(rule):
    w = labelled()
    opt = fs.create(rule, {"w": w}, **richest(rule))
    opt.step({"w": np.ones(3, "float32")})
    freed = is_freed(w, opt)
    assert not freed()
    del w, opt
    assert freed()


def test_what_refers_to_what_holds_it():
    def gradient(array):
        opt = fs.SGD({"w": np.ones(3, "float32")})
        opt.bind({"w": array})
        opt.step()
        return opt

    holders = {
        "gradient": gradient,
        "average": lambda array: fs.EMA({"w": array}, decay=0.5),
        "working copy": lambda array: fs.SGD(
            {"w": np.ones(3, "float32")}, working_copy={"w": array}
        ),
    }
    for name, hold in holders.items():
        array = labelled("uint16" if name == "working copy" else "float32")
        freed = is_freed(array, hold(array))
        del array
        assert freed(), name


def test_the_collector_leaves_what_is_in_use():
    w = labelled()
    w.opt = fs.SGD({"w": w}, lr=1.0)
    gc.collect()
    w.opt.step({"w": np.ones(3, "float32")})
    assert (w == 0).all()


class Collecting:
    """An array whose library collects garbage in the middle of a call."""

    __dlpack_device__ = np.ones(1).__dlpack_device__

    def __dlpack__(self, **options):
        gc.collect()
        return np.ones(3, "float32").__dlpack__(**options)


@needs_dlpack
def test_the_collector_runs_in_the_middle_of_a_call():
    w = labelled()
    w.opt = fs.SGD({"v": np.ones(3, "float32"), "w": w}, lr=1.0)
    w.opt.step({"v": np.ones(3, "float32"), "w": Collecting()})
    assert (w == 0).all()
    freed = is_freed(w, w.opt)
    del w
    assert freed()


TORCH = {
    "attribute": lambda w, opt: setattr(w, "opt", opt),
    "hook": lambda w, opt: w.register_hook(lambda _: opt and None),
}


@needs_dlpack
@pytest.mark.parametrize("refer", TORCH.values(), ids=TORCH)
@pytest.mark.parametrize("role", ["parameter", "gradient", "average", "working copy"])
def test_tensors_of_torch_that_refer_to_what_holds_them(refer, role):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    if not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("torch before 2.10 describes nothing in C")
    copy = role == "working copy"
    w = torch.ones(3, dtype=torch.bfloat16 if copy else torch.float32, requires_grad=True)
    if role == "parameter":
        holder = fs.SGD({"w": w})
        holder.step({"w": torch.ones(3)})
    elif role == "average":
        holder = fs.EMA({"w": w}, decay=0.5)
        holder.update()
    else:
        holder = fs.SGD({"w": np.ones(3, "float32")}, working_copy={"w": w} if copy else None)
        if not copy:
            holder.bind({"w": w})
    refer(w, holder)
    last = [weakref.ref(w), weakref.ref(holder)]
    gc.collect()
    assert all(ref() is not None for ref in last)
    del w, holder
    gc.collect()
    assert all(ref() is None for ref in last)
