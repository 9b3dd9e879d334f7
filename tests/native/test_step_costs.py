"""What a step costs, counted: allocations, parallel regions, and the memory that state lives in."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, ROWWISE, RULES, aligned_empty, state_shape
from preload import preloaded

# Counts what a process allocates on the C heap, and the parallel regions that it enters.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stddef.h>
static long allocations, regions;
long shim_allocations(void) { return allocations; }
long shim_regions(void) { return regions; }
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
void *malloc(size_t n) { ++allocations; return __libc_malloc(n); }
void *calloc(size_t n, size_t m) { ++allocations; return __libc_calloc(n, m); }
void *realloc(void *p, size_t n) { ++allocations; return __libc_realloc(p, n); }
typedef void (*region)(void (*)(void *), void *, unsigned, unsigned);
static region real;
void shim_use(const char *libgomp) {
  real = (region)dlsym(dlopen(libgomp, RTLD_NOW), "GOMP_parallel");
}
void GOMP_parallel(void (*f)(void *), void *data, unsigned n, unsigned flags) {
  ++regions;
  real(f, data, n, flags);
}
"""

PROGRAM = """
import ctypes, sys
import numpy as np
import fusedstep as fs
shim = ctypes.CDLL(None)
for line in open("/proc/self/maps"):
    if "libgomp" in line:
        shim.shim_use(line.split()[-1].encode())
fs.set_num_threads(2)
rng = np.random.default_rng(1)
sizes = {sizes}
params = [rng.standard_normal(n).astype(np.float32) for n in sizes]
grads = [rng.standard_normal(n).astype(np.float32) for n in sizes]
opt = fs.Adam(params, weight_decay=0.01, **{options})
opt.bind(grads)
def count(step, times):
    for _ in range(3):
        step()
    before = shim.shim_allocations(), shim.shim_regions(), sys.getallocatedblocks()
    for _ in range(times):
        step()
    after = shim.shim_allocations(), shim.shim_regions(), sys.getallocatedblocks()
    return [b - a for a, b in zip(before, after)]
print(*count(opt.step, 100), *count(lambda: opt.step(grads), 100))
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    return preloaded(tmp_path_factory.mktemp("shim"), SHIM, "cc")


# A build without OpenMP has no parallel regions.
THREADING = ["pool", *["openmp"] * fs.show_config("dict")["openmp"]]


def counts(shim, threading, sizes, options=None):
    import os

    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(sizes=sizes, options=options or {})],
        env={**os.environ, "LD_PRELOAD": str(shim), "FUSEDSTEP_THREADING": threading},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return [int(word) for word in result.stdout.splitlines()[-1].split()]


def are_possible(regions, most, threading):
    """No region in the pool's steps; with OpenMP at most so many: one thread may be faster here."""
    return regions == 0 if threading == "pool" else regions <= most


@pytest.mark.parametrize("threading", THREADING)
def test_a_step_allocates_nothing_and_enters_one_parallel_region(shim, threading):
    bound = counts(shim, threading, [100_000, 7, 250_000, 0, 64, *[1_000] * 50])
    allocations, regions, blocks, _, regions_passed, blocks_passed = bound
    assert allocations == 0
    assert are_possible(regions, 100, threading)
    assert are_possible(regions_passed, 100, threading)
    # The interpreter's own free lists breathe a little.
    assert abs(blocks) <= 2
    assert abs(blocks_passed) <= 2


@pytest.mark.parametrize("threading", THREADING)
def test_the_norm_is_one_region_more_and_allocates_nothing(shim, threading):
    options = {"max_grad_norm": 1.0, "skip_nonfinite": True, "ema_decay": 0.9}
    sizes = [100_000, 7, 250_000, *[1_000] * 50]
    allocations, regions, *_ = counts(shim, threading, sizes, options)
    assert allocations <= 1  # the interpreter's: a number of the result now and then
    assert are_possible(regions, 200, threading)


def test_a_small_step_enters_none(shim):
    _, regions, _, _, regions_passed, _ = counts(shim, THREADING[-1], [1_000, 7])
    assert regions == regions_passed == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1, 100, 5_000, 1_000_003])
def test_state_is_in_phase_and_staggered(dtype, size):
    for offset in range(0, 64, np.dtype(dtype).itemsize):
        param = aligned_empty(size, dtype, offset)
        param[:] = 0
        opt = fs.Adam(param, amsgrad=True)
        arrays = [param, *(v for k, v in opt.state["param"].items() if k != "step")]
        addresses = [array.ctypes.data for array in arrays]
        assert {address % 64 for address in addresses} == {offset}
        if param.nbytes >= 4096:
            assert len({address % 4096 for address in addresses}) == len(addresses)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/smaps")
def test_large_state_is_advised_huge():
    param = np.zeros(4_000_000, np.float32)
    opt = fs.Adam(param)
    address = opt.state["param"]["exp_avg"].ctypes.data
    flags, inside = None, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        head = line.split()[0]
        if "-" in head and ":" not in head:
            low, high = (int(end, 16) for end in head.split("-"))
            inside = low <= address < high
        elif inside and head == "VmFlags:":
            flags = line.split()
    if flags is None:
        pytest.skip("this kernel does not show VmFlags")
    assert "hg" in flags


@pytest.mark.parametrize("rule", RULES)
def test_state_has_its_parameters_shape_dtype_and_order(rule):
    params = {
        "c": np.zeros((3, 4, 5), np.float32),
        "f": np.zeros((3, 4), np.float64, order="C" if rule in ROWWISE else "F"),
        "scalar": np.array(1.0),
        "empty": np.zeros((0, 3), np.float32),
    }
    opt = fs.create(rule, params)
    for name, param in params.items():
        for state, array in opt.state[name].items():
            if state != "step":
                assert (array.shape, array.dtype) == (state_shape(rule, param.shape), param.dtype)
                assert array.flags.f_contiguous == (rule in ROWWISE or param.flags.f_contiguous)
                assert array.flags.c_contiguous == param.flags.c_contiguous


def test_state_is_freed_with_its_optimizer():
    """No reference cycle keeps gigabytes until the collector runs."""
    import gc
    import weakref

    opt = fs.Adam(np.zeros(10))
    opt.bind(np.zeros(10))
    opt.step()
    view = opt.state["param"]["exp_avg"]
    gone = weakref.ref(opt)
    gc.disable()
    try:
        del opt
        assert gone() is None
    finally:
        gc.enable()
    assert view.shape == (10,)  # memory that somebody still looks at stays
    assert np.all(view == 0)
