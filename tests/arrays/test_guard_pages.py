"""Arrays that end, or start, where memory is forbidden: a kernel that strays is killed."""

import ctypes
import mmap
import sys

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, RULES, same_bits
from fusedstep import _core
from fusedstep._definition import registry
from reference import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called through libc")

PAGE = mmap.PAGESIZE
MOST_STATES = max(len(own) for rule in RULES for own in registry[rule].info.states)


class GuardedPage:
    """One page of memory between two that nobody may touch."""

    def __init__(self):
        self._map = mmap.mmap(-1, 3 * PAGE)
        self._bytes = np.frombuffer(self._map, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        for start in (0, 2 * PAGE):
            address = ctypes.c_void_p(self._bytes.ctypes.data + start)
            assert libc.mprotect(address, ctypes.c_size_t(PAGE), 0) == 0

    def array(self, values, at_end):
        nbytes = values.nbytes
        start = 2 * PAGE - nbytes if at_end else PAGE
        array = self._bytes[start : start + nbytes].view(values.dtype)
        array[:] = values
        return array


@pytest.fixture(scope="module")
def pages():
    return [GuardedPage() for _ in range(2 + MOST_STATES)]


@pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_no_access_outside(rule, dtype, at_end, pages):
    rng = np.random.default_rng(1)
    lanes = 64 // np.dtype(dtype).itemsize
    for isa in fs.available_isas():
        _core.use_isa(isa)
        for length in range(4 * lanes + 4):
            param, grad = rng.standard_normal((2, length)).astype(dtype)
            run = Run(rule, {"weight_decay": 0.01}, param)
            states = [state.copy() for state in run.state.values()]
            run.step(grad)
            p, g, *s = (
                page.array(values, at_end)
                for page, values in zip(
                    pages, [param, grad, *states], strict=False
                )  # pages to spare
            )
            getattr(fs.functional, rule)(p, g, *s, step=1, weight_decay=0.01)
            assert same_bits(p, run.param), (isa, length)
