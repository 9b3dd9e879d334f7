"""Calls beside a thread that steps: they wait for their turn, and only a second step is refused."""

import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pytest

import fusedstep as fs
from interpreters import python
from lent import IN_USE, Lent
from native_programs import NATIVE, ROOT, compiled, lines_of
from optimizers import needs_dlpack

SIZE = 1 << 19


@contextmanager
def stepping(opt, grads):
    """A thread that makes one step after another while the body runs."""
    done, errors = threading.Event(), []

    def work():
        while not done.is_set():
            try:
                opt.step(grads)
            except RuntimeError as error:
                errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive() and opt.step_count < 3:
        pass
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert errors == []


def set_rate(opt, i):
    opt.lr = 1 / (1 + i)
    assert opt.lr == 1 / (1 + i)


def set_option(opt, i):
    opt.groups[0]["eps"] = 1 / (1 + i)
    assert opt.groups[0]["eps"] == 1 / (1 + i)


def save_and_load(opt, i):  # noqa: ARG001
    opt.load_state_dict(opt.state_dict())


def freeze_and_unfreeze(opt, i):  # noqa: ARG001
    opt.freeze("0")
    opt.unfreeze("0")


def bind(opt, i):  # noqa: ARG001
    opt.bind(None)


@pytest.mark.parametrize("call", [set_rate, set_option, save_and_load, freeze_and_unfreeze, bind])
def test_a_thread_that_steps_in_a_loop_keeps_no_call_out(call):
    opt = fs.Adam([np.ones(SIZE, "float32")])
    with stepping(opt, {"0": np.ones(SIZE, "float32")}):
        for i in range(20):
            call(opt, i)


def test_steps_beside_a_thread_that_saves_and_sets_are_all_made():
    opt, done = fs.Adam([np.ones(SIZE, "float32")]), threading.Event()

    def work():
        while not done.is_set():
            opt.state_dict()
            opt.lr = 0.1

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for _ in range(50):
        opt.step([np.ones(SIZE, "float32")])
    done.set()
    for thread in threads:
        thread.join()
    assert opt.step_count == 50


@needs_dlpack
def test_a_call_from_within_a_call_is_refused_at_once():
    opt = fs.SGD({"w": np.ones(3)}, lr=1.0)

    def each():
        calls = [
            lambda: setattr(opt, "lr", 2.0),
            opt.state_dict,
            lambda: opt.freeze("w"),
            lambda: opt.bind(None),
        ]
        for call in calls:
            with pytest.raises(RuntimeError, match=IN_USE):
                call()

    opt.step({"w": Lent(np.ones(3), each)})
    assert (opt.lr, opt.frozen, opt.params["w"][0]) == (1.0, frozenset(), 0)


WAITS = """
import os, signal, sys, threading, time
import numpy as np, fusedstep as fs
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a test run in the background
opt = fs.SGD({"w": np.ones(3)}, lr=1.0)
inside, go_on = threading.Event(), threading.Event()
class Gradient:
    shape = (3,)
    def __dlpack_device__(self):
        return (1, 0)
    def __dlpack__(self, **options):
        inside.set()
        go_on.wait(60)
        return np.ones(3).__dlpack__(**options)
thread = threading.Thread(target=lambda: opt.step({"w": Gradient()}))
thread.start()
inside.wait(60)
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    opt.lr = 2.0
except KeyboardInterrupt:
    print("interrupted", opt.lr)
go_on.set()
opt.lr = 3.0
thread.join()
print(opt.lr, opt.params["w"][0])
"""


@needs_dlpack
def test_ctrl_c_ends_a_wait():
    done = python(WAITS)
    assert (done.returncode, done.stdout) == (0, "interrupted 1.0\n3.0 0.0\n"), done.stderr


@pytest.mark.skipif(shutil.which("c++") is None, reason="compiles a C++ program")
def test_turns_have_no_data_race(tmp_path):
    sources = [
        NATIVE / "turnstile_stress.cpp",
        *(ROOT / f"cpp/threads/{name}.cpp" for name in ("turnstile", "process")),
    ]
    program = compiled(tmp_path, sources, "-I", ROOT / "cpp", "-fsanitize=thread")
    assert lines_of(program) == ["every call alone"]
