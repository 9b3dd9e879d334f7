"""The k-th allocation of the compiled core fails, for every k of every call."""

import pytest

from interpreters import python
from preload import preloaded

# operator new of the whole process, for one thread failing once.
SHIM = r"""
#include <cstdlib>
#include <new>
static thread_local long left = -1;
extern "C" void arm(long k) { left = k; }
extern "C" long disarm() { const long l = left; left = -1; return l; }
static void* take(std::size_t bytes, std::size_t alignment) {
  if (left >= 0 && left-- == 0) throw std::bad_alloc();
  void* p = nullptr;
  if (posix_memalign(&p, alignment < 16 ? 16 : alignment, bytes) != 0) throw std::bad_alloc();
  return p;
}
static void* try_to_take(std::size_t bytes) noexcept {
  try { return take(bytes, 1); } catch (...) { return nullptr; }
}
void* operator new(std::size_t n) { return take(n, 1); }
void* operator new[](std::size_t n) { return take(n, 1); }
void* operator new(std::size_t n, std::align_val_t a) { return take(n, std::size_t(a)); }
void* operator new(std::size_t n, const std::nothrow_t&) noexcept { return try_to_take(n); }
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept { return try_to_take(n); }
void operator delete(void* p) noexcept { free(p); }
void operator delete[](void* p) noexcept { free(p); }
void operator delete(void* p, std::size_t) noexcept { free(p); }
void operator delete[](void* p, std::size_t) noexcept { free(p); }
void operator delete(void* p, std::align_val_t) noexcept { free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { free(p); }
"""

PROGRAM = """
import ctypes, sys
import numpy as np
import fusedstep as fs
from fusedstep._spaces.host import HostSpace
from optimizers import everything
shim = ctypes.PyDLL(None)
stepper = HostSpace.stepper
def paused(*arguments):
    # pybind11 registers an object where its own std::bad_alloc ends the process.
    left = shim.disarm()
    try:
        return stepper(*arguments)
    finally:
        shim.arm(left)
HostSpace.stepper = paused
A, B = "a parameter with quite a long name", "another one, whose name is long as well"
SHAPES = {A: (70, 10), B: (7,)}
more = {"params": {f"a new parameter with a long name {i}": np.ones(50, "f4") for i in range(3)}}
copy = {"working_copy": {A: np.zeros(SHAPES[A], "u2")}}
def ones(shapes):
    return {name: np.ones(shape, "f4") for name, shape in shapes.items()}
def make():
    opt = fs.Adam(ones(SHAPES), lr=0.1, ema_decay=0.5, skip_nonfinite=True, **copy)
    opt.step(ones(SHAPES))
    return opt
def step_all(opt):
    return opt.step({n: np.ones(p.shape, "f4") for n, p in opt.params.items()})
grads = ones(SHAPES)
saved = make().state_dict()
file = sys.argv[2]
make().save(file, include_params=True)
indices, rows = np.arange(20)[::-1] // 2, np.ones((20, 10), "f4")
CALLS = {
    "construct": lambda opt: make(),
    "add_group": lambda opt: opt.add_group(more),
    "bind": lambda opt: opt.bind(grads),
    "step": lambda opt: opt.step(grads),
    "part": lambda opt: opt.step({B: grads[B]}),
    "zero": lambda opt: opt.step(ones(SHAPES), zero_grads=True),
    "step_mean": lambda opt: opt.step_mean([grads] * 5),
    "step_rows": lambda opt: opt.step_rows(A, indices, rows),
    "state_dict": lambda opt: opt.state_dict(),
    "load_state_dict": lambda opt: opt.load_state_dict(saved),
    "save": lambda opt: opt.save(file, include_params=True),
    "load": lambda opt: opt.load(file),
    "set_counters": lambda opt: opt.set_counters(5, {A: 3}),
    "option": lambda opt: opt.groups[0].update({"eps": 1e-3, "betas": (0.5, 0.6)}),
    "freeze": lambda opt: opt.freeze(A),
    "lr": lambda opt: setattr(opt, "lr", 0.2),
}
call, k = CALLS[sys.argv[1]], 0
while True:
    opt = make()
    before = everything(opt)
    shim.arm(k)
    try:
        call(opt)
        error = None
    except BaseException as got:
        error = got
    left = shim.disarm()
    if left >= 0:
        assert error is None, error
        break
    # Where nothing was raised, somebody did without the memory.
    assert error is None or (type(error) is MemoryError and everything(opt) == before), (k, error)
    for again in (call, step_all, lambda o: o.add_group({"params": np.ones(3, "f4")}), step_all):
        again(opt)
    k += 1
print(k)
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return preloaded(tmp_path_factory.mktemp("shim"), SHIM, "c++", "-std=c++17")


@pytest.mark.parametrize(
    ("call", "at_least"),
    {
        "construct": 30,
        "add_group": 20,
        "bind": 2,
        "step": 0,
        "part": 0,
        "zero": 1,
        "step_mean": 2,
        "step_rows": 5,
        "state_dict": 2,
        "load_state_dict": 5,
        "save": 2,
        "load": 5,
        "set_counters": 1,
        "option": 1,
        "freeze": 0,
        "lr": 1,
    }.items(),
)
def test_fault_25_every_allocation_may_fail(shim, call, at_least, tmp_path):
    done = python(
        PROGRAM, call, str(tmp_path / "saved"), LD_PRELOAD=str(shim), FUSEDSTEP_NUM_THREADS="2"
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) >= at_least
