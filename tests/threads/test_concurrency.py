"""What comes between the parts of a call: other threads, calls from within, Ctrl-C."""

import sys
import threading
from contextlib import suppress

import numpy as np
import pytest

import fusedstep as fs
from interpreters import python
from interrupts import interrupted_everywhere
from lent import IN_USE, Lent
from optimizers import needs_dlpack, refused, same_everywhere


def test_a_group_is_added_beside_steps():
    size = 1 << 20
    opt = fs.SGD({"w": np.ones(size, "float32")}, lr=0.0)
    grads, done = {"w": np.ones(size, "float32")}, threading.Event()

    def work():
        while not done.is_set():
            with suppress(ValueError):  # one parameter more than when it looked
                opt.step(grads)

    thread = threading.Thread(target=work)
    thread.start()
    new = [np.ones(3, "float32") for _ in range(10)]
    for i, x in enumerate(new):
        opt.add_group({"params": {f"x{i}": x}, "lr": 1.0})
    done.set()
    thread.join()
    for i, x in enumerate(new):
        opt.step({f"x{i}": np.ones(3, "float32")})
        assert (x == 0).all()


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


def add_group(opt):
    opt.add_group({"params": {"x": np.ones(3)}, "lr": 2.0})


def trained():
    opt = fs.Adam({"w": np.ones(3), "v": np.ones(3)}, lr=2.0)
    opt.groups[0]["betas"] = (0.5, 0.5)
    opt.step({"w": np.ones(3)})
    return opt.state_dict()


SAVED = trained()


def load_state(opt):
    opt.load_state_dict(SAVED)


def freeze(opt):
    opt.freeze("w", "v")


def set_options(opt):
    opt.groups[0].update({"lr": 3.0, "betas": (0.1, 0.2)})


def set_rate(opt):
    opt.lr = 4.0


def bind(opt):
    opt.bind({"w": np.ones(3), "v": np.ones(3)})


def seen(opt):
    """What a call may change: by name, as the core has it and as Python has it."""
    engine = opt._engine
    sizes = {len(engine.tree.names), engine.core.tensor_count, len(engine.buffers), len(opt.state)}
    assert len(sizes) == 1
    for group in opt.groups:
        assert set(group.params) <= set(opt.params)
    saved = opt.state_dict()
    return repr((saved["groups"], saved["step_count"], saved["state"], sorted(opt.frozen)))


@pytest.mark.parametrize("call", [add_group, load_state, freeze, set_options, set_rate, bind])
def test_fault_24_ctrl_c_anywhere_in_a_call_leaves_all_or_nothing(call):
    def fresh():
        return fs.Adam({"w": np.ones(3), "v": np.ones(3)}, lr=1.0)

    before = fresh()
    after = fresh()
    call(after)
    outcomes = [seen(before), seen(after)]

    def check(opt, through):
        assert seen(opt) in (outcomes[1:] if through else outcomes)
        control = fresh()
        if seen(opt) == outcomes[1]:
            call(control)
        for each in (opt, control):
            each.step({name: np.ones(3) for name in each.params})
        assert same_everywhere(opt, control)  # as the core has its options

    interrupted_everywhere(fresh, call, check)


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
        opt.step({"w": "no gradient"})
    except RuntimeError:
        break
    except TypeError:
        pass
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
def test_fault_21_a_fork_in_the_middle_of_a_step():
    done = python(FORKED)
    words = (
        "this optimizer was forked in the middle of a step: its arrays may be half-updated; load a "
        "saved state into a new one"
    )
    assert (done.returncode, done.stdout.splitlines()[-2:]) == (0, [words] * 2), done.stderr


def test_a_step_beside_load_state_dict_leaves_all_or_nothing():
    """Counters and options are loaded in one call of the core: none can come between them."""
    opt = fs.Momentum({"w": np.ones(1 << 22, "float32")}, lr=0.0)
    saved = opt.state_dict()
    saved["groups"][0]["beta"], saved["step_count"], saved["state"]["w"]["step"] = 0.5, 2**40, 2**40
    grads, done = {"w": np.ones(1 << 22, "float32")}, threading.Event()

    def work():
        while not done.is_set():
            opt.step(grads)

    thread = threading.Thread(target=work)
    thread.start()
    opt.load_state_dict(saved)
    done.set()
    thread.join()
    assert (opt.groups[0]["beta"] == 0.5) == (opt.step_count >= 2**40)
