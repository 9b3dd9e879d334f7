"""Steps beside other threads, signals and forks."""

import gc
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

import fusedstep as fs
from interpreters import python


def in_step(opt):
    """Whether another thread is inside a step."""
    try:
        opt.step(["no gradient"])
    except RuntimeError:
        return True
    except TypeError:
        return False


def is_uniformly_stepped(opt):
    """Whether one array of ones has taken whole steps with gradients of 0.5 in every element."""
    control = fs.Adam([np.ones(1, "float32")])
    while control.step_count < opt.step_count:
        control.step([np.full(1, 0.5, "float32")])
    mine = {**opt.state["0"], "param": opt.params["0"]}
    theirs = {**control.state["0"], "param": control.params["0"]}
    return opt.step_count > 0 and all(np.all(mine[name] == theirs[name]) for name in theirs)


def test_fault_23_last_references_dropped_mid_step():
    size = 1 << 23
    params, grads = [np.ones(size, "float32")], [np.full(size, 0.5, "float32")]
    memory = [weakref.ref(params[0]), weakref.ref(grads[0])]
    opt = fs.Adam(params)

    def work(opt):
        for _ in range(1000):
            with suppress(RuntimeError, ValueError):  # looked at just now; without gradients
                opt.step(grads)
            if not grads:
                break

    with fs.num_threads(1):
        thread = threading.Thread(target=work, args=(opt,))
        thread.start()
        while thread.is_alive() and not in_step(opt):
            pass
        params.clear()
        grads.clear()
        poison = np.full(size, np.nan, "float32")  # takes the memory of what was freed
        assert memory[1]() is not None or not in_step(opt)
        thread.join()
    assert np.isnan(poison).all()
    assert is_uniformly_stepped(opt)
    assert memory[1]() is None
    view = opt.state["0"]["exp_avg"]
    del opt, thread
    gc.collect()
    assert memory[0]() is None
    assert (view == view[0]).all()  # a view outlives its optimizer


def test_fault_23_two_threads_on_one_optimizer():
    size = 1 << 22
    params, grads = [np.ones(size, "float32")], [np.full(size, 0.5, "float32")]
    opt, done, refusals = fs.Adam(params), [], []

    def work():
        while not refusals and len(done) < 1000:
            try:
                opt.step(grads)
                done.append(1)
            except RuntimeError as error:
                refusals.append(str(error))

    with ThreadPoolExecutor() as pool:
        for result in [pool.submit(work) for _ in range(2)]:
            result.result()
    assert set(refusals) == {"the optimizer is in use by another call"}
    assert opt.step_count == len(done)
    assert is_uniformly_stepped(opt)


def test_a_saved_state_is_never_half_a_step():
    size, steps = 1 << 22, 10
    opt, control = fs.Adam([np.ones(size, "float32")]), fs.Adam([np.ones(1, "float32")])
    grads = [np.full(size, 0.5, "float32")]
    whole = [0.0]
    for _ in range(steps):
        control.step([grads[0][:1]])
        whole.append(control.state["0"]["exp_avg"][0])

    def work():
        while opt.step_count < steps:
            opt.step(grads)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        own = opt.state_dict()["state"]["0"]
        assert (own["exp_avg"] == whole[own["step"]]).all()
    thread.join()


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np, fusedstep as fs
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a test run in the background
fs.set_num_threads(1)
opt = fs.Adam({"w": np.ones(1 << 23, "f4")})
grads = {"w": np.full(1 << 23, 0.5, "f4")}
seen = []
def interrupt():
    while True:
        try:
            opt.step({"w": "no gradient"})
        except RuntimeError:
            break
        except TypeError:
            pass
    seen.append(opt.step_count)
    os.kill(os.getpid(), signal.SIGINT)
watcher = threading.Thread(target=interrupt)
try:
    watcher.start()
    while True:
        opt.step(grads)
except KeyboardInterrupt:
    watcher.join()
control = fs.Adam({"w": np.ones(1, "f4")})
while control.step_count < opt.step_count:
    control.step({"w": np.full(1, 0.5, "f4")})
assert opt.step_count > seen[0], "the step was cut short"
assert (opt.params["w"] == control.params["w"]).all()
for name in control.state["w"]:
    assert np.all(opt.state["w"][name] == control.state["w"][name])
print("whole steps")
"""

FORKED = """
import multiprocessing, os, signal, sys, warnings
import numpy as np, fusedstep as fs
warnings.simplefilter("ignore")  # newer Pythons warn of threads at a fork
fs.set_num_threads(4)
opt = fs.Adam([np.ones(500_000)])
grads = [np.linspace(-1, 1, 500_000)]
control = fs.Adam([np.ones(500_000)])
for _ in range(3):
    control.step(grads)
def right(opt):
    pairs = [(opt.state["0"][name], control.state["0"][name]) for name in control.state["0"]]
    return all(np.all(a == b) for a, b in [*pairs, (opt.params["0"], control.params["0"])])
def in_child(_):
    signal.alarm(60)  # a hang is a death
    for _ in range(2):
        opt.step(grads)
    return right(opt)
opt.step(grads)
if sys.argv[1] == "os.fork":
    child = os.fork()
    if child == 0:
        os._exit(0 if in_child(0) else 1)
    assert os.waitpid(child, 0)[1] == 0
else:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map_async(in_child, [0]).get(60) == [True]
assert opt.step_count == 1
assert in_child(0)
print("parent and child")
"""


def test_fault_24_interrupted_between_whole_steps():
    done = python(INTERRUPTED)
    assert (done.returncode, done.stdout) == (0, "whole steps\n"), done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_fault_21_a_forked_child_steps(how):
    done = python(FORKED, how)
    assert (done.returncode, done.stdout) == (0, "parent and child\n"), done.stderr


EXITS = """
import threading
import numpy as np, fusedstep as fs
fs.set_num_threads(1)
opt, grads = fs.Adam([np.ones(1 << 20, "f4")]), [np.ones(1 << 20, "f4")]
def work():
    while True:
        opt.step(grads)
threading.Thread(target=work, daemon=True).start()
while opt.step_count < 2:
    pass
"""


def test_fault_40_the_process_ends_beside_a_daemon_thread_in_a_step():
    for _ in range(5):
        done = python(EXITS)
        assert (done.returncode, done.stderr) == (0, "")


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters
except ModuleNotFoundError:
    import _xxsubinterpreters as interpreters
run = getattr(interpreters, "exec", None) or interpreters.run_string
run(interpreters.create(), sys.argv[1])
"""
IMPORTS = """
try:
    import fusedstep._core
except ImportError:
    print("refused")
"""


def test_fault_40_a_sub_interpreter_is_refused():
    done = python(SUBINTERPRETER, IMPORTS)
    assert (done.returncode, done.stdout) == (0, "refused\n"), done.stderr
