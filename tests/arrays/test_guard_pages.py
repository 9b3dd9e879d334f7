"""Arrays between pages where memory is forbidden: a kernel that strays is killed.

Every length from 0 to 4 * lanes + 3 at every byte offset modulo 64, once as close to the forbidden page
behind it as the offset lets it be, and once to the one before it.
"""

import ctypes
import mmap
import sys

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, RULES
from fusedstep import _core
from fusedstep._definition import registry
from interpreters import python
from narrow import NarrowRun, decoded
from narrow_modes import FORMATS, MODES, assert_equal, name_of, numbers, storage
from reference import Run

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="mprotect is called through libc")

PAGE, LINE = mmap.PAGESIZE, 64
CANARY = 0xA5
MOST_STATES = max(len(own) for rule in RULES for own in registry[rule].info.states)
both_ends = pytest.mark.parametrize("at_end", [True, False], ids=["end", "start"])


class GuardedPage:
    """One page of memory between two that nobody may touch."""

    def __init__(self):
        self._map = mmap.mmap(-1, 3 * PAGE)
        self._bytes = np.frombuffer(self._map, np.uint8)
        libc = ctypes.CDLL(None, use_errno=True)
        for start in (0, 2 * PAGE):
            address = ctypes.c_void_p(self._bytes.ctypes.data + start)
            assert libc.mprotect(address, ctypes.c_size_t(PAGE), 0) == 0

    def array(self, values, at_end, gap=0):
        """A copy of the values, and between it and the next forbidden page a gap of so many bytes."""
        start = 2 * PAGE - values.nbytes - gap if at_end else PAGE + gap
        self.span = slice(start, start + values.nbytes)
        self._bytes[PAGE : 2 * PAGE] = CANARY
        array = self._bytes[self.span].view(values.dtype)
        array[:] = values
        return array

    def holds(self, values):
        """Whether the array has these bits, and nothing was written around it."""
        expected = np.full(3 * PAGE, CANARY, np.uint8)
        expected[self.span] = values.view(np.uint8)
        return self._bytes[PAGE : 2 * PAGE].tobytes() == expected[PAGE : 2 * PAGE].tobytes()


@pytest.fixture(scope="module")
def pages():
    return [GuardedPage() for _ in range(2 + MOST_STATES)]


@both_ends
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_every_length_at_every_offset(rule, dtype, at_end, pages):
    rng = np.random.default_rng(1)
    item = np.dtype(dtype).itemsize
    gaps = [*range(0, LINE, item)]
    for length in range(4 * LINE // item + 4):
        param, grad = rng.standard_normal((2, length)).astype(dtype)
        run = Run(rule, {"weight_decay": 0.01}, param)
        start = [param, grad, *(state.copy() for state in run.state.values())]
        run.step(grad)
        after = [run.param, grad, *run.state.values()]
        used = pages[: len(start)]
        for isa in fs.available_isas():
            _core.use_isa(isa)
            for turn, gap in enumerate(gaps):
                # A gradient need not share its parameter's offset.
                own = [gap, gaps[(turn + length) % len(gaps)], *[gap] * (len(start) - 2)]
                arrays = [
                    page.array(values, at_end, distance)
                    for page, values, distance in zip(used, start, own, strict=True)
                ]
                getattr(fs.functional, rule)(*arrays, step=1, weight_decay=0.01)
                for page, expected in zip(used, after, strict=True):
                    assert page.holds(expected), (isa, length, gap)


@both_ends
@pytest.mark.parametrize("mode", MODES, ids=name_of)
def test_every_length_of_narrow_formats(mode, at_end, pages):
    rng = np.random.default_rng(2)
    for length in range(1, 4 * LINE // 2 + 4):
        start = numbers(rng, length, mode["param"])
        grad = numbers(rng, length, FORMATS[length % 3])
        run = NarrowRun("adamw", {}, start, **storage(mode))
        run.step(decoded(grad))
        for isa in fs.available_isas():
            _core.use_isa(isa)
            param = pages[0].array(start, at_end)
            opt = fs.AdamW({"w": param}, **storage(mode))
            opt.step({"w": pages[1].array(grad, at_end)})
            assert_equal(opt, {"w": run}, isa, length)
            assert pages[0].holds(run.bits), (isa, length)
            assert pages[1].holds(grad), (isa, length)


@pytest.mark.parametrize("dtype", DTYPES)
def test_offsets_between_elements_are_refused(dtype, pages):
    item = np.dtype(dtype).itemsize
    values = np.ones(7, dtype)
    for gap in {*range(LINE)} - {*range(0, LINE, item)}:
        param, grad = pages[0].array(values, True, gap), pages[1].array(values, True)
        with pytest.raises(ValueError, match="an aligned array"):
            fs.functional.sgd(param, grad, step=1)
        assert (param == 1).all()


STRAYS = """
import numpy as np
from numpy.lib.stride_tricks import as_strided
from test_guard_pages import GuardedPage
array = GuardedPage().array(np.ones(8, np.float32), {at_end})
print("here", flush=True)
as_strided(array, (9,), (4 if {at_end} else -4,)).sum()
print("not reached")
"""


@pytest.mark.parametrize("at_end", [True, False])
def test_one_element_further_is_death(at_end):
    """Or the tests above would show nothing."""
    path = "import sys; sys.path += ['tests/arrays', 'tests/spec']\n"
    done = python(path + STRAYS.format(at_end=at_end))
    assert (done.returncode, done.stdout) == (-11, "here\n"), done.stderr
