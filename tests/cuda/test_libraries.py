"""CuPy and Numba as their own attributes describe their arrays: played by classes that behave alike."""

import contextlib
import sys
import types

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from emulated_cuda import Fake, device_array

pytestmark = pytest.mark.usefixtures("emulated")


class Ndarray(Fake):
    """With the attributes of cupy.ndarray that are read at every step."""

    asked = 0  # how often the slow way was taken

    @property
    def __cuda_array_interface__(self):
        Ndarray.asked += 1
        return super().__cuda_array_interface__

    dtype = property(lambda self: self.memory.dtype)
    flags = property(lambda self: self.memory.flags)
    device = property(lambda self: contextlib.nullcontext())  # noqa: ARG005

    @property
    def data(self):
        return types.SimpleNamespace(ptr=self.memory.ctypes.data, device_id=0)

    def __setitem__(self, key, value):
        self.memory[key] = value.memory


@pytest.fixture
def cupy(emulated, monkeypatch):  # noqa: ARG001 - which comes first
    """A library of which fusedstep.cuda.CuPy takes the arrays."""
    stream = types.SimpleNamespace(ptr=3)
    module = types.SimpleNamespace(
        ndarray=Ndarray,
        zeros_like=lambda a, dtype: Ndarray(np.zeros_like(a.memory, dtype)),
        empty=lambda shape, dtype: Ndarray(np.empty(shape, dtype)),
        cuda=types.SimpleNamespace(get_current_stream=lambda: stream),
    )
    monkeypatch.setitem(sys.modules, "cupy", module)
    from fusedstep import cuda

    monkeypatch.setattr(cuda, "libraries", [cuda.CuPy()])


@pytest.mark.usefixtures("cupy")
def test_cupy():
    rng = np.random.default_rng(0)
    p = rng.random((3, 4))
    host = fs.Adam(p.copy(), ema_decay=0.9, max_grad_norm=1.0)
    device = fs.Adam(Ndarray(p.copy()), ema_decay=0.9, max_grad_norm=1.0)
    for _ in range(2):
        g = rng.random((3, 4))
        host.step(g)
        device.step(Ndarray(g))
    assert same_bits(host.params["param"], device.params["param"].memory)
    with device.ema.swapped_in():
        assert same_bits(host.ema["param"], device.params["param"].memory)
    plain = fs.Adam(Ndarray(p.copy()))
    asked = Ndarray.asked
    plain.step(Ndarray(g))
    assert Ndarray.asked == asked
    with pytest.raises(ValueError, match=r"^gradient of 'param': expected shape \(3, 4\) like"):
        plain.step(Ndarray(g.T.copy()))
    # CuPy's interface calls the place of an empty view 0, its attributes do not.
    empty = Ndarray(np.zeros((0, 3)), data=(0, False))
    nothing = fs.Adam({"e": empty, "w": Ndarray(p.copy())})
    for _ in range(2):
        nothing.step({"e": Ndarray(np.zeros((0, 3)), data=(0, False)), "w": Ndarray(g)})


def test_numba(monkeypatch):
    class DeviceNDArray(Fake):
        dtype = property(lambda self: self.memory.dtype)
        flags = property(lambda self: self.memory.flags)

        def copy_to_device(self, other):
            np.copyto(self.memory, other.memory)

    DeviceNDArray.__module__ = "numba.cuda.cudadrv.devicearray"
    numba = types.SimpleNamespace(
        device_array=lambda shape, dtype, order: DeviceNDArray(np.empty(shape, dtype, order)),
        default_stream=lambda: types.SimpleNamespace(handle=types.SimpleNamespace(value=None)),
    )
    monkeypatch.setitem(sys.modules, "numba.cuda", numba)
    from fusedstep import cuda

    monkeypatch.setattr(cuda, "libraries", [cuda.Numba()])
    p, g = np.random.default_rng(0).random((2, 5))
    host, device = fs.SGD(p.copy(), lr=0.1, momentum=0.9), DeviceNDArray(p.copy())
    opt = fs.SGD(device, lr=0.1, momentum=0.9, ema_decay=0.9)
    host.step(g)
    opt.step(device_array(g))
    assert same_bits(host.params["param"], device.memory)
    assert isinstance(opt.state["param"]["momentum_buffer"], DeviceNDArray)


@pytest.mark.parametrize("missing", ["data", "flags"])
@pytest.mark.usefixtures("cupy")
def test_arrays_that_lack_an_attribute_are_read_the_slow_way(missing):
    kind = type("Broken", (Ndarray,), {missing: property(lambda self: self.absent)})
    w = Ndarray(np.ones((2, 3)))
    opt = fs.SGD({"w": w}, lr=1.0)
    asked = Ndarray.asked
    opt.step({"w": kind(np.ones((2, 3)))})
    assert Ndarray.asked > asked
    assert not w.memory.any()


@pytest.mark.parametrize(
    "made",
    [
        lambda: Ndarray(np.ones((2, 3), "float32")),
        lambda: Ndarray(np.ones((3, 2)).T),
        lambda: Fake(np.ones((3, 2))),
    ],
)
@pytest.mark.usefixtures("cupy")
def test_arrays_that_do_not_fit(made):
    opt = fs.SGD({"w": Ndarray(np.ones((2, 3)))})
    with pytest.raises((TypeError, ValueError), match=r"^gradient of 'w': expected"):
        opt.step({"w": made()})


@pytest.mark.usefixtures("cupy")
def test_a_parameter_that_no_longer_says_where_it_is():
    w = type("Lost", (Ndarray,), {})(np.ones(3))
    opt = fs.SGD({"w": w})
    type(w).data = property(lambda self: self.absent)
    with pytest.raises(fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was"):
        opt.step({"w": Ndarray(np.ones(3))})


@pytest.mark.usefixtures("cupy")
def test_the_shape_may_be_one_object():
    class Fixed(Ndarray):
        shape = (2, 3)

    w = Fixed(np.ones((2, 3)))
    fs.SGD({"w": w}, lr=1.0).step({"w": Fixed(np.ones((2, 3)))})
    assert not w.memory.any()


@pytest.mark.usefixtures("cupy")
def test_an_array_with_both_protocols_is_read_by_its_attributes():
    class Both(Ndarray):
        def __dlpack_device__(self):
            return (2, 0)

    w = Both(np.ones(3))
    fs.SGD({"w": w}, lr=1.0).step({"w": Both(np.ones(3))})
    assert not w.memory.any()
