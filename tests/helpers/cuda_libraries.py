"""Libraries of CUDA arrays as tests use them: the played device, torch, CuPy and Numba on a card."""

import importlib
import importlib.util
import warnings
from functools import cache

import ml_dtypes
import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from emulated_cuda import device_array

CANARY = 77


class Emulated:
    """emulated_cuda.Fake, in the memory of the device that the CPU plays."""

    fortran = True  # whether its arrays may be in Fortran order
    bfloat16 = True  # whether it has arrays of this dtype

    def put(self, host):
        return device_array(host)

    def view(self, flat, start, stop, shape, order="C"):
        return type(flat)(flat.memory[start:stop].reshape(shape, order=order))

    def write(self, flat, host):
        flat.memory[...] = host

    def get(self, array):
        return np.array(array.memory)


class Torch:
    fortran = bfloat16 = True

    def put(self, host):
        torch = importlib.import_module("torch")
        if host.dtype.kind == "V":
            return torch.tensor(host.view(np.int16), device="cuda").view(torch.bfloat16)
        return torch.tensor(host, device="cuda")

    def view(self, flat, start, stop, shape, order="C"):
        part = flat[start:stop]
        return part.view(shape) if order == "C" else part.view(shape[::-1]).t()

    def write(self, flat, host):
        torch = importlib.import_module("torch")
        same = flat.view(torch.int16) if host.dtype.kind == "V" else flat
        same.copy_(torch.from_numpy(host.view(np.int16) if host.dtype.kind == "V" else host))

    def get(self, array):
        torch, own = importlib.import_module("torch"), array.detach()
        if own.dtype == torch.bfloat16:
            return own.view(torch.int16).cpu().numpy().view(ml_dtypes.bfloat16)
        return own.cpu().numpy()


class CuPy:
    fortran, bfloat16 = True, False

    def put(self, host):
        return importlib.import_module("cupy").array(host)

    def view(self, flat, start, stop, shape, order="C"):
        part = flat[start:stop]
        return part.reshape(shape) if order == "C" else part.reshape(shape[::-1]).T

    def write(self, flat, host):
        flat.set(host)

    def get(self, array):
        return array.get()


class Numba:
    fortran = False  # its transposition copies
    bfloat16 = False

    def put(self, host):
        return importlib.import_module("numba.cuda").to_device(np.atleast_1d(host))

    def view(self, flat, start, stop, shape, order="C"):
        assert order == "C"
        if start == stop:  # nothing to be a view of
            return self.put(np.empty(shape, flat.dtype))
        return flat[start:stop].reshape(shape)

    def write(self, flat, host):
        flat.copy_to_device(host)

    def get(self, array):
        return array.copy_to_host()


BY_NAME = {"emulated": Emulated(), "torch": Torch(), "cupy": CuPy(), "numba": Numba()}
ON_A_CARD = ("torch", "cupy", "numba")


def _sees_a_device(name):
    module = importlib.import_module("numba.cuda" if name == "numba" else name)
    if name == "cupy":
        return module.cuda.runtime.getDeviceCount() > 0
    return module.cuda.is_available() if name == "torch" else module.is_available()


@cache
def why_not(name):
    """Why a library cannot be tried on a card here; empty where it can."""
    found = fs.show_config("dict")["cuda"]
    if isinstance(found, str):
        return f"needs a CUDA device ({found})"
    if importlib.util.find_spec(name) is None:
        return f"needs a CUDA device and {name}, which is not installed"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen = _sees_a_device(name)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, it is not ours
        return f"needs a CUDA device and {name} ({type(error).__name__}: {error})"
    return "" if seen else f"needs a CUDA device that {name} sees"


def library_or_skip(name):
    """A library on a card, or a test that is skipped."""
    if why_not(name):
        pytest.skip(why_not(name))
    return BY_NAME[name]


@pytest.fixture(params=["emulated", *(name for name in ON_A_CARD if not why_not(name))])
def library(request):
    """The played device, and every library that there is a card for; test_device.py names the others."""
    if request.param == "emulated":
        request.getfixturevalue("emulated")
    return BY_NAME[request.param]


class Field:
    """A list of arrays on the device: views into one flat array a dtype, at odd places in it."""

    def __init__(self, library, values, seed=0):
        rng = np.random.default_rng(seed)
        self._library, self._spans, ends = library, [], {}
        for value in values:
            start = ends.get(value.dtype, 0) + int(rng.integers(1, 8))
            ends[value.dtype] = start + value.size
            order = "C" if value.flags.c_contiguous or not library.fortran else "F"
            self._spans.append((value.dtype, start, start + value.size, value.shape, order))
        self._hosts = {dtype: np.full(end + 5, CANARY, dtype) for dtype, end in ends.items()}
        self._flats = {dtype: library.put(host) for dtype, host in self._hosts.items()}
        self.arrays = [library.view(self._flats[dtype], *span) for dtype, *span in self._spans]
        self.write(values)

    def write(self, values):
        """Other numbers into the same memory."""
        for (dtype, start, stop, _, order), value in zip(self._spans, values, strict=True):
            self._hosts[dtype][start:stop] = value.ravel(order=order)
        for dtype, flat in self._flats.items():
            self._library.write(flat, self._hosts[dtype])

    def read(self):
        """What lies there now; nobody may have written between the arrays."""
        hosts = {dtype: self._library.get(flat) for dtype, flat in self._flats.items()}
        between = {dtype: np.ones(len(host), bool) for dtype, host in hosts.items()}
        values = []
        for dtype, start, stop, shape, order in self._spans:
            between[dtype][start:stop] = False
            values.append(hosts[dtype][start:stop].reshape(shape, order=order))
        assert all(np.all(host[between[dtype]] == CANARY) for dtype, host in hosts.items())
        return values


class Pair:
    """An optimizer on the CPU and one on the device, which are asked the same things."""

    def __init__(self, library, rule, values, copies=False, **options):
        self.library, self.values = library, [value.copy(order="K") for value in values]
        self.params = Field(library, values)
        named = [str(i) for i, value in enumerate(values) if copies and value.dtype == np.float32]
        here = {name: np.zeros(values[int(name)].shape, np.uint16) for name in named}
        # Beside a parameter in Fortran order a copy is, too.
        here = {n: np.asarray(c, order=self._order(values[int(n)])) for n, c in here.items()}
        self.copies = Field(library, [copy.view(np.int16) for copy in here.values()], seed=1)
        there = dict(zip(named, self.copies.arrays, strict=True))
        self.host_copies = list(here.values())
        self.host = fs.create(rule, self.values, working_copy=here or None, **options)
        self.device = fs.create(
            rule, list(self.params.arrays), working_copy=there or None, **options
        )

    @staticmethod
    def _order(value):
        return "C" if value.flags.c_contiguous else "F"

    def agree(self, expected, got):
        """Both say the same of a step."""
        if expected.grad_norm is None:
            assert got == expected
            return
        assert bool(self.library.get(got.applied)) is expected.applied
        norm = np.asarray(self.library.get(got.grad_norm))
        assert same_bits(norm.reshape(()), np.float64(expected.grad_norm).reshape(()))

    def step(self, grads, scale=1.0, **call):
        """With gradients None where there are none; `scale` is handed over as it is here."""
        held = [grad for grad in grads if grad is not None]
        there = Field(self.library, held, seed=2)
        here = [None if grad is None else grad.copy(order="K") for grad in grads]
        arrays = iter(there.arrays)
        given = [None if grad is None else next(arrays) for grad in grads]
        # An array of one number goes to the device.
        is_array = isinstance(scale, np.ndarray)
        expected = self.host.step(here, grad_scale=scale.item() if is_array else scale, **call)
        scale = self.library.put(scale) if is_array else scale
        self.agree(expected, self.device.step(given, grad_scale=scale, **call))
        left = [grad for grad in here if grad is not None]
        assert all(map(same_bits, left, there.read()))

    def combine(self, how, sets, weights, **call):
        there = [Field(self.library, grads, seed=3 + k) for k, grads in enumerate(sets)]
        expected = getattr(self.host, how)(sets, weights, **call)
        self.agree(
            expected, getattr(self.device, how)([one.arrays for one in there], weights, **call)
        )

    def rows(self, name, indices, rows, indices_there=False, **call):
        expected = self.host.step_rows(name, indices, rows, **call)
        there = self.library.put(indices) if indices_there else indices
        (given,) = Field(self.library, [rows]).arrays
        self.agree(expected, self.device.step_rows(name, there, given, **call))

    def check(self):
        """Everything that a step can move has the same bits."""
        for i, (ours, theirs) in enumerate(zip(self.values, self.params.read(), strict=True)):
            assert same_bits(ours, theirs), f"parameter {i}"
        for name, state in self.host.state.items():
            other = self.device.state[name]
            assert state.keys() == other.keys()
            assert state["step"] == other["step"], name
            for kind in state.keys() - {"step"}:
                assert same_bits(state[kind], self.library.get(other[kind])), (name, kind)
        for ours, theirs in zip(self.host_copies, self.copies.read(), strict=True):
            assert np.array_equal(ours.view(np.int16), theirs)
        assert self.host.step_count == self.device.step_count
