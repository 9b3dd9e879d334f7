"""Odd sizes, huge arrays, counters, interruptions, threads and forks: faults 10, 11, 15, 16, 21, 23, 24, 30."""

import gc
import math
import pickle
import re
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

import fusedstep as fs
from cases import CASE_IDS, CASES, DTYPES, ROWWISE, RULES, same_bits
from interpreters import python
from memory import (
    NAMES,
    VirtualArray,
    needs_dlpack,
    numbers,
    refused,
    richest,
    running,
    same_everywhere,
)

every_rule = pytest.mark.parametrize("rule", RULES)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)
every_case = pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
TOP = 2**63 - 1


@every_rule
@every_dtype
@pytest.mark.parametrize("empty", [(0,), (0, 3), (3, 0), (2, 0, 2)], ids=str)
def test_empty_arrays_and_arrays_without_axes(rule, dtype, empty):
    for at in [(), (0,), (1,), (2,), (3,), (0, 3), (0, 1, 2, 3)]:
        shapes = [empty if i in at else shape for i, shape in enumerate([(3, 5), (7,), (), (1, 2)])]
        arrays = [
            [numbers(seed + i, dtype, shape, "a")["a"] for i, shape in enumerate(shapes)]
            for seed in (10, 20, 30, 40)
        ]
        opt = fs.create(rule, [np.array(a) for a in arrays[0]], **richest(rule))
        opt.step([np.array(a) for a in arrays[1]])
        opt.bind([np.array(a) for a in arrays[2]])
        opt.step()
        opt.step_mean([[np.array(a) for a in grads] for grads in arrays[2:]])
        for i in range(4):
            alone = fs.create(rule, [np.array(arrays[0][i])], **richest(rule))
            for grads in arrays[1:3]:
                alone.step([np.array(grads[i])])
            alone.step_mean([[np.array(grads[i])] for grads in arrays[2:]])
            own, expected = dict(opt.state[str(i)]), dict(alone.state["0"])
            assert own.pop("step") == expected.pop("step") == 3
            assert same_bits(opt.params[str(i)].ravel(), alone.params["0"].ravel())
            assert all(same_bits(own[s].ravel(), expected[s].ravel()) for s in expected)


@pytest.mark.skipif(sys.platform != "linux", reason="memfd_create and MAP_FIXED are Linux's")
@pytest.mark.parametrize("threads", [1, 2])
def test_more_elements_than_32_bits_count(threads):
    size, page, half = 2**32 + 37, 4096, 2**33
    windows = [(0, page), (half - page, half + page), (2 * half - page, 2 * half + page)]
    param = VirtualArray(size, "float32", windows, fill=1.0)
    grad = VirtualArray(size, "float32", windows)
    pieces = [slice(start // 4, min(stop // 4, size)) for start, stop in windows]
    rng, expected = np.random.default_rng(threads), []
    for piece in pieces:
        p, g = rng.standard_normal((2, piece.stop - piece.start)).astype("float32")
        param.array[piece], grad.array[piece] = p, g
        expected.append(p - np.float32(0.5) * g)
    with fs.num_threads(threads):
        fs.functional.sgd(param.array, grad.array, step=1, lr=0.5)
    assert all(same_bits(param.array[p], e) for p, e in zip(pieces, expected, strict=True))
    assert not param.beyond.any()
    assert (param.array[page // 4 : 2**20] == 1).all()
    param.close()
    grad.close()


# Counters --------------------------------------------------------------------------------------

COUNTS = [2**8, 2**24, 2**31, 2**53 + 1, 2**63 - 2]


def at_count(opt, step_count, steps):
    saved = opt.state_dict()
    saved["step_count"] = step_count
    for own, step in zip(saved["state"].values(), steps, strict=True):
        own["step"] = step
    opt.load_state_dict(saved)


@every_rule
@every_dtype
@pytest.mark.parametrize("count", COUNTS)
def test_counters_are_exact(rule, dtype, count):
    opt, twin = running(rule, dtype), running(rule, dtype)
    at_count(opt, count, [count, 1, count])
    twin.load_state_dict(opt.state_dict())
    assert [own["step"] for own in opt.state.values()] == [count, 1, count]
    opt.step({**numbers(4, dtype), "last": None})
    assert [own["step"] for own in opt.state.values()] == [count + 1, 2, count]
    assert opt.step_count == count + 1

    for name in ("first", "middle"):
        states = [array for key, array in twin.state[name].items() if key != "step"]
        step = twin.state[name]["step"] + 1
        function = getattr(fs.functional, rule)
        function(twin.params[name], numbers(4, dtype)[name], *states, step=step, **richest(rule))
        assert same_bits(opt.params[name], twin.params[name])


@every_dtype
@pytest.mark.parametrize("rule", ["adam", "adamw"])
@pytest.mark.parametrize("count", COUNTS)
def test_bias_corrections_are_right_at_large_counts(rule, dtype, count):
    # 1 - beta near 1 / t, so that no power is near 0 or 1; a power of 2, so that beta is exact
    rest = 2.0 ** -min(math.frexp(count)[1], 53)
    options = {"lr": 0.5, "betas": (1 - 2 * rest, 1 - rest), "eps": 0.0, "weight_decay": 0.0}
    param, grad, m, v = (np.full(3, value, dtype) for value in (1, 0.5, 0.25, 0.125))
    getattr(fs.functional, rule)(param, grad, m, v, step=count + 1, **options)
    c1, c2 = (-math.expm1((count + 1) * math.log1p(-x)) for x in (2 * rest, rest))
    m = (1 - 2 * rest) * 0.25 + 2 * rest * 0.5
    v = (1 - rest) * 0.125 + rest * 0.5 * 0.5
    assert param == pytest.approx(np.full(3, 1 - 0.5 * (m / c1) / math.sqrt(v / c2)), rel=2e-6)


@every_rule
@pytest.mark.parametrize("name", [*NAMES, "step_count"])
def test_counters_at_their_end(rule, name):
    opt, good = running(rule, "float32"), numbers(4, "float32")
    opt.bind(good)
    at_count(opt, TOP if name == "step_count" else 5, [TOP if n == name else 5 for n in NAMES])
    what = name if name == "step_count" else f"parameter '{name}'"
    for call in (opt.step, lambda: opt.step(good), lambda: opt.step_mean([good, good])):
        with refused(opt, OverflowError, what, "2**63 - 1"):
            call()
    if name != "step_count":
        opt.step({**good, name: None})
        assert opt.state[name]["step"] == TOP
    for step in (TOP + 1, 0, -1):
        with pytest.raises(ValueError, match=rf"step: expected .*, got {step}"):
            fs.functional.sgd(np.ones(1), np.ones(1), step=step)


@every_case
@every_dtype
def test_resumed_is_straight(rule, options, dtype):
    ordered = np.ascontiguousarray if rule in ROWWISE else np.asfortranarray

    def start():
        params = {n: ordered(a) for n, a in numbers(1, dtype).items()}
        return fs.create(rule, params, **options)

    def steps(opt, seeds):
        for seed in seeds:
            opt.step({n: ordered(a) for n, a in numbers(seed, dtype).items()})

    straight, first, second = start(), start(), start()
    steps(straight, range(2, 8))
    steps(first, range(2, 5))
    saved = first.state_dict()
    for name, param in first.params.items():
        second.params[name][...] = param
    kept = pickle.dumps(saved)
    steps(first, range(5, 8))  # as if nothing had been saved, and without moving what was
    assert same_everywhere(first, straight)
    second.load_state_dict(saved)
    steps(second, range(5, 8))
    assert same_everywhere(second, straight)
    assert pickle.dumps(saved) == kept


# Arrays that change or go ----------------------------------------------------------------------


def move(array):
    """Resize there and back, with the place that it had taken meanwhile."""
    size = array.size
    array.resize(1 << 22, refcheck=False)
    blockers = [np.empty(size, array.dtype) for _ in range(100)]
    array.resize(size, refcheck=False)
    del blockers


CHANGES = {
    "larger": lambda array: array.resize(10_000, refcheck=False),
    "empty": lambda array: array.resize(0, refcheck=False),
    "moved": move,
    "int32": lambda array: setattr(array, "dtype", np.int32),
    "byte order": lambda array: setattr(array, "dtype", array.dtype.newbyteorder("S")),
}


@every_rule
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("at", range(3))
def test_arrays_changed_behind_our_back(rule, change, at):
    for role in ("parameter", "gradient of"):
        params, grads = ([np.arange(1.0, 8, dtype="float32") for _ in NAMES] for _ in range(2))
        opt = fs.create(rule, params, **richest(rule))
        opt.bind(grads)
        opt.step()
        change(params[at] if role == "parameter" else grads[at])
        words = f"{role} '{at}'", "expected the array as it was", "got one that was"
        with refused(opt, ValueError, *words, untouched=grads):
            opt.step()


@needs_dlpack
def test_an_exporter_that_frees_another_gradient():
    first = np.ones(1 << 20, "float32")

    class Freeing:
        __dlpack_device__ = np.ones(1).__dlpack_device__

        def __dlpack__(self, **kwargs):
            first.resize(0, refcheck=False)
            return np.ones(1 << 20, "float32").__dlpack__(**kwargs)

    opt = fs.SGD([np.ones(1 << 20, "float32") for _ in range(2)])
    for call in (opt.step, opt.bind, lambda grads: opt.step_mean([grads])):
        first.resize(1 << 20, refcheck=False)
        with refused(opt, ValueError, "gradient of '0'", "expected the array as it was"):
            call([first, Freeing()])


def in_step(opt):
    """Whether another thread is inside a step; lets go of bound gradients where it is not."""
    try:
        opt.bind(None)
    except RuntimeError:
        return True
    return False


def is_uniformly_stepped(opt):
    """Whether one array of ones has taken whole steps with gradients of 0.5 in every element."""
    twin = fs.Adam([np.ones(1, "float32")])
    while twin.step_count < opt.step_count:
        twin.step([np.full(1, 0.5, "float32")])
    mine = {**opt.state["0"], "param": opt.params["0"]}
    theirs = {**twin.state["0"], "param": twin.params["0"]}
    return opt.step_count > 0 and all(np.all(mine[name] == theirs[name]) for name in theirs)


def test_last_references_dropped_mid_step():
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


def test_bound_gradients_that_nobody_else_holds():
    opt = fs.SGD([np.zeros(1 << 18)], lr=1.0)
    opt.bind([np.full(1 << 18, 0.5)])
    poison = np.full(1 << 18, np.nan)
    opt.step()
    assert (opt.params["0"] == -0.5).all()
    del poison


def test_two_threads_on_one_optimizer():
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
    opt, twin = fs.Adam([np.ones(size, "float32")]), fs.Adam([np.ones(1, "float32")])
    grads = [np.full(size, 0.5, "float32")]
    whole = [0.0]
    for _ in range(steps):
        twin.step([grads[0][:1]])
        whole.append(twin.state["0"]["exp_avg"][0])

    def work():
        while opt.step_count < steps:
            with suppress(RuntimeError):
                opt.step(grads)

    thread = threading.Thread(target=work)
    thread.start()
    while thread.is_alive():
        with suppress(RuntimeError):  # "in use by another call" is as good as a whole state
            own = opt.state_dict()["state"]["0"]
            assert (own["exp_avg"] == whole[own["step"]]).all()
    thread.join()


INTERRUPTED = """
import os, signal, sys, threading
import numpy as np, fusedstep as fs
fs.set_num_threads(1)
opt = fs.Adam({"w": np.ones(1 << 23, "f4")})
grads = {"w": np.full(1 << 23, 0.5, "f4")}
seen = []
def interrupt():
    while True:
        try:
            opt.bind(None)
        except RuntimeError:
            break
    seen.append(opt.step_count)
    os.kill(os.getpid(), signal.SIGINT)
watcher = threading.Thread(target=interrupt)
try:
    watcher.start()
    while True:
        opt.step(grads)
except KeyboardInterrupt:
    watcher.join()
twin = fs.Adam({"w": np.ones(1, "f4")})
while twin.step_count < opt.step_count:
    twin.step({"w": np.full(1, 0.5, "f4")})
assert opt.step_count > seen[0], "the step was cut short"
assert (opt.params["w"] == twin.params["w"]).all()
for name in twin.state["w"]:
    assert np.all(opt.state["w"][name] == twin.state["w"][name])
print("whole steps")
"""

FORKED = """
import multiprocessing, os, signal, sys, warnings
import numpy as np, fusedstep as fs
warnings.simplefilter("ignore")  # newer Pythons warn of threads at a fork
fs.set_num_threads(4)
opt = fs.Adam([np.ones(500_000)])
grads = [np.linspace(-1, 1, 500_000)]
twin = fs.Adam([np.ones(500_000)])
for _ in range(3):
    twin.step(grads)
def right(opt):
    pairs = [(opt.state["0"][name], twin.state["0"][name]) for name in twin.state["0"]]
    return all(np.all(a == b) for a, b in [*pairs, (opt.params["0"], twin.params["0"])])
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


def succeeds(done, word):
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, [word]), done.stderr


def test_interrupted_between_whole_steps():
    succeeds(python(INTERRUPTED), "whole steps")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")
@pytest.mark.parametrize("how", ["os.fork", "multiprocessing"])
def test_a_forked_child_steps(how):
    succeeds(python(FORKED, how), "parent and child")


BAD_COUNTS = ("0", "-1", "two", "1.5", " ", "2x", "4097", "9" * 30)
BAD_ENVIRONMENTS = [
    ("FUSEDSTEP_ISA", bad, fs.available_isas()[0]) for bad in ("sse9", "AVX2", "neon ")
]
BAD_ENVIRONMENTS += [("FUSEDSTEP_NUM_THREADS", bad, "1 to 4096") for bad in BAD_COUNTS]
BAD_ENVIRONMENTS += [("FUSEDSTEP_THREADING", bad, "'pool'") for bad in ("tbb", "Pool", " ")]
if not fs.show_config("dict")["openmp"]:
    BAD_ENVIRONMENTS.append(("FUSEDSTEP_THREADING", "openmp", "since this build has no OpenMP"))


@pytest.mark.parametrize(("variable", "value", "expected"), BAD_ENVIRONMENTS)
def test_bad_environment(variable, value, expected):
    done = python("import fusedstep", **{variable: value})
    assert done.returncode != 0
    assert re.match(
        rf"ImportError: {variable}: expected .*{expected}.*, got '{value}'$",
        done.stderr.splitlines()[-1],
    )
