"""What comes between the parts of a call: other threads, calls from within, Ctrl-C."""

import sys
import threading
from contextlib import suppress

import numpy as np
import pytest

import fusedstep as fs
from interpreters import python
from optimizers import everything, needs_dlpack, refused, same_everywhere

IN_USE = "the optimizer is in use by another call"


class Lent:
    """An array that does something of its own while it is looked at."""

    def __init__(self, array, act):
        self.array, self.act = array, act

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        self.act()
        return self.array.__dlpack__(**options)

    @property
    def shape(self):
        return self.array.shape


def test_a_group_that_was_refused_beside_a_step_leaves_nothing():
    size = 1 << 22
    opt = fs.SGD({"w": np.ones(size, "float32")}, lr=0.0)
    grads, refusals, done = {"w": np.ones(size, "float32")}, [], threading.Event()

    def work():
        while not done.is_set():
            opt.step(grads)

    thread = threading.Thread(target=work)
    thread.start()
    x = np.ones(3, "float32")
    while not refusals and len(opt.groups) == 1:
        try:
            opt.add_group({"params": {"x": x}, "lr": 1.0})
        except RuntimeError as error:
            refusals.append(str(error))
    done.set()
    thread.join()
    assert all(IN_USE in words for words in refusals)
    if refusals:
        assert [*opt.params] == ["w"]
        opt.add_group({"params": {"x": x}, "lr": 1.0})
    opt.groups[1]["lr"] = 100.0
    opt.step({"x": np.ones(3, "float32")})
    assert (x == -99).all()


@needs_dlpack
def test_another_group_between_the_look_and_the_call():
    opt = fs.SGD({"w": np.ones(3)}, lr=1.0)
    opt.step({"w": np.ones(3)})
    looks = []

    def add_another():  # while the state is laid out, before the core takes it in
        looks.append(1)
        if len(looks) == 1:
            opt.add_group({"params": {"first": np.ones(3)}, "lr": 2.0})

    with pytest.raises(RuntimeError, match=IN_USE):
        opt.add_group({"params": {"second": Lent(np.ones(3), add_another)}, "lr": 3.0})
    assert [*opt.params] == ["w", "first"]
    opt.step({"w": np.ones(3), "first": np.ones(3)})
    assert (opt.params["w"][0], opt.params["first"][0]) == (-1, -1)


@needs_dlpack
def test_a_call_from_within_a_call():
    opt = fs.SGD({"w": np.ones(3)}, lr=1.0)
    grads = {"w": Lent(np.ones(3), lambda: opt.step({"w": np.ones(3)}))}
    with refused(opt, TypeError, IN_USE):
        opt.step(grads)
    opt.step({"w": np.ones(3)})
    assert (opt.params["w"] == 0).all()


class Interrupted:
    """The compiled core, with a Ctrl-C during every call of one name."""

    def __init__(self, core, name):
        self._core, self._name = core, name

    def __getattr__(self, name):
        attribute = getattr(self._core, name)
        if name != self._name:
            return attribute

        def call(*arguments, **named):
            attribute(*arguments, **named)
            raise KeyboardInterrupt

        return call


def interrupt(opt, name):
    """From now on; returns a function that ends it."""
    core = opt._engine.core
    opt._engine.core = Interrupted(core, name)
    return lambda: setattr(opt._engine, "core", core)


def test_ctrl_c_while_a_group_is_added():
    opt = fs.Adam({"w": np.ones(3)}, lr=1.0)
    go_on = interrupt(opt, "add")
    with pytest.raises(KeyboardInterrupt):
        opt.add_group({"params": {"x": np.ones(3)}, "lr": 2.0})
    go_on()
    assert [*opt.params] == ["w", "x"]
    assert len(opt.groups) == 2
    before = everything(opt)
    with pytest.raises(ValueError, match="overlaps"):
        opt.add_group({"params": {"y": opt.params["x"]}})
    assert everything(opt) == before
    opt.step({"w": np.ones(3), "x": np.ones(3)})


FORKED = """
import os, sys, threading, warnings
import numpy as np, fusedstep as fs
warnings.simplefilter("ignore")  # newer Pythons warn of threads at a fork
fs.set_num_threads(1)
opt, idle = (fs.Adam({"w": np.ones(1 << 24, "f4")}) for _ in range(2))
grads = {"w": np.ones(1 << 24, "f4")}
thread = threading.Thread(target=opt.step, args=(grads,))
thread.start()
while thread.is_alive():
    try:
        opt.bind(None)
    except RuntimeError:
        break
child = os.fork()
if child == 0:
    for call in (lambda: opt.step(grads), opt.state_dict):
        try:
            call()
        except RuntimeError as error:
            print(error, flush=True)
    idle.step(grads)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
thread.join()
opt.step(grads)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
def test_a_fork_in_the_middle_of_a_step():
    done = python(FORKED)
    words = (
        "this optimizer was forked in the middle of a step: its arrays may be half-updated; load a "
        "saved state into a new one"
    )
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, [words] * 2), done.stderr


def test_ctrl_c_while_a_state_is_loaded():
    opt, other = (fs.Momentum({"w": np.ones(3)}, lr=lr) for lr in (1.0, 2.0))
    other.groups[0]["beta"] = 0.5
    other.step({"w": np.ones(3)})
    go_on = interrupt(opt, "restore")
    with pytest.raises(KeyboardInterrupt):
        opt.load_state_dict(other.state_dict())
    go_on()
    assert (opt.lr, opt.groups[0]["beta"], opt.step_count) == (2.0, 0.5, 1)
    opt.params["w"][:] = other.params["w"]
    for each in (opt, other):
        each.step({"w": np.ones(3)})
    assert same_everywhere(opt, other)


def test_a_step_beside_load_state_dict_leaves_all_or_nothing():
    """Counters and options are loaded in one call of the core: none can come between them."""
    opt = fs.Momentum({"w": np.ones(1 << 22, "float32")}, lr=0.0)
    saved = opt.state_dict()
    saved["groups"][0]["beta"], saved["step_count"], saved["state"]["w"]["step"] = 0.5, 2**40, 2**40
    grads, done = {"w": np.ones(1 << 22, "float32")}, threading.Event()

    def work():
        while not done.is_set():
            with suppress(RuntimeError):
                opt.step(grads)

    thread = threading.Thread(target=work)
    thread.start()
    with suppress(RuntimeError):
        opt.load_state_dict(saved)
    done.set()
    thread.join()
    assert (opt.groups[0]["beta"] == 0.5) == (opt.step_count >= 2**40)
