"""torch, CuPy and Numba as their own attributes describe them: played by classes that behave as theirs do."""

import contextlib
import ctypes
import sys
import types

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from emulated_cuda import Fake, device_array
from narrow_modes import KEPT

pytestmark = pytest.mark.usefixtures("emulated")


class DLTensor(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("device_type", ctypes.c_int32))  # the first of them


Describe = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(DLTensor))
NAME = b"dlpack_exchange_api"


def exchange_table(torch):
    """A capsule like torch's own, whose tensors say that they are on a CUDA device."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    own = pointer(torch.Tensor.__dlpack_c_exchange_api__, NAME)
    words = (ctypes.c_void_p * 7).from_address(own)
    real = Describe(words[5])

    @Describe
    def describe(tensor, out):
        code = real(tensor, out)
        out[0].device_type = 2
        return code

    table = (ctypes.c_void_p * 7)(*words)
    table[5] = ctypes.cast(describe, ctypes.c_void_p).value
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = (
        ctypes.py_object,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p),
    )
    return make(ctypes.addressof(table), NAME, None), (table, describe, real)


@pytest.fixture(params=["attributes", "in C"])
def on_device(request, monkeypatch):
    """Makes CPU tensors that say they are on cuda:0, and a library whose tensors stay there."""
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    if request.param == "in C" and not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("torch before 2.10 describes nothing in C")

    class Tensor(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl
        is_cuda = True
        __dlpack_c_exchange_api__, kept = (
            exchange_table(torch) if request.param == "in C" else (None, None)
        )

        def get_device(self):
            return 0

    from fusedstep import cuda

    class Library(cuda.Torch):
        def zeros_like(self, array, dtype=None):
            return super().zeros_like(array, dtype).as_subclass(Tensor)

        def zeros(self, array, size, dtype=None):
            return super().zeros(array, size, dtype).as_subclass(Tensor)

        def scalar(self, array, dtype):
            return super().scalar(array, dtype).as_subclass(Tensor)

        def copy(self, to, value):
            to.detach().as_subclass(torch.Tensor).copy_(value.detach())

        def stream(self, array):  # noqa: ARG002
            return 0

    monkeypatch.setattr(cuda, "libraries", [Library(), *cuda.libraries])
    stream = types.SimpleNamespace(cuda_stream=0)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: stream)  # noqa: ARG005
    return lambda a, grad=False: torch.as_tensor(a).clone().requires_grad_(grad).as_subclass(Tensor)


def test_torch(on_device):
    rng = np.random.default_rng(0)
    params = [rng.random((3, 4)).astype("f4"), rng.random(5)]
    there = [on_device(p, grad=True).detach().requires_grad_() for p in params]
    kind = type(on_device(1.0))
    there = [t.as_subclass(kind) for t in there]
    assert all(t.requires_grad for t in there)
    options = {"max_grad_norm": 1.0, "ema_decay": 0.9}
    host, device = fs.AdamW([p.copy() for p in params], **options), fs.AdamW(there, **options)
    for _ in range(3):
        grads = [rng.random(p.shape).astype(p.dtype) for p in params]
        host.step(grads)
        result = device.step([on_device(g) for g in grads])
    assert float(result.grad_norm) > 0
    assert bool(result.applied)
    for i, name in enumerate(host.params):
        assert same_bits(host.params[name], there[i].detach().numpy())
        assert same_bits(host.state[name]["exp_avg"], device.state[name]["exp_avg"].numpy())
        assert device.state[name]["exp_avg"].dtype == there[i].dtype


def test_torch_gradients_that_do_not_fit(on_device):
    torch = sys.modules["torch"]
    w = on_device(np.ones((3, 4), np.float32))
    opt = fs.SGD({"w": w})
    for grad, message in (
        (torch.ones(3, 4), "memory on cuda:0 like its parameter, got an array on the CPU (torch."),
        (
            on_device(np.ones((3, 4))),
            "dtype float32, bfloat16 or float16 beside its parameter of float32, got",
        ),
        (on_device(np.ones((4, 3), "f4")), "shape (3, 4) like its parameter, got (4, 3)"),
        (on_device(np.ones((4, 3), "f4")).t(), "a contiguous array in C order"),
        (on_device(np.ones((3, 4), np.complex64)).imag, "a contiguous array in C order"),
        (
            torch._neg_view(on_device(np.ones((3, 4), "f4"))),
            "a CUDA array that can be viewed without a copy, got Tensor (its negative bit is set",
        ),
    ):
        is_type = any(word in message for word in ("dtype", "CPU", "bit"))
        with pytest.raises(TypeError if is_type else ValueError) as info:
            opt.step({"w": grad.as_subclass(type(w)) if "CPU" not in message else grad})
        assert str(info.value).startswith(f"gradient of 'w': expected {message}")
    w.data = on_device(np.zeros((3, 4), np.float32))
    with pytest.raises(
        fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was when it"
    ):
        opt.step({"w": on_device(np.ones((3, 4), np.float32))})


def test_torch_bfloat16(on_device):
    torch = sys.modules["torch"]
    w = on_device(np.linspace(-1, 1, 7, dtype=np.float32))
    copy = torch.zeros(7, dtype=torch.bfloat16).as_subclass(type(w))
    opt = fs.SGD({"w": w}, lr=0.1, working_copy={"w": copy})
    opt.step({"w": on_device(np.ones(7, np.float32))})
    assert torch.equal(copy.as_subclass(torch.Tensor), w.as_subclass(torch.Tensor).bfloat16())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("kept", ["nearest", "kahan", "split32"])
def test_torch_narrow(on_device, dtype, kept):
    torch = sys.modules["torch"]
    rng = np.random.default_rng(0)
    how = {"state_dtype": "8bit", "min_8bit_size": 0, "ema_decay": 0.9, **KEPT[kept]}
    start = torch.tensor(rng.standard_normal((5, 77)), dtype=getattr(torch, dtype))
    w = on_device(start)
    host, device = fs.AdamW({"w": start}, **how), fs.AdamW({"w": w}, **how)
    for grad_dtype in (torch.bfloat16, torch.float32, torch.float16):
        grad = torch.tensor(rng.standard_normal((5, 77)), dtype=grad_dtype)
        host.step({"w": grad})
        device.step({"w": on_device(grad)})
    assert torch.equal(start.view(torch.int16), w.as_subclass(torch.Tensor).view(torch.int16))
    for key, array in host.state["w"].items():
        if key != "step":
            assert same_bits(array, device.state["w"][key].numpy())
    assert same_bits(host.master("w"), device.master("w"))
    with host.ema.swapped_in(), device.ema.swapped_in():
        assert torch.equal(start, w.as_subclass(torch.Tensor))


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


def test_cupy(monkeypatch):
    stream = types.SimpleNamespace(ptr=3)
    cupy = types.SimpleNamespace(
        ndarray=Ndarray,
        zeros_like=lambda a, dtype: Ndarray(np.zeros_like(a.memory, dtype)),
        empty=lambda shape, dtype: Ndarray(np.empty(shape, dtype)),
        cuda=types.SimpleNamespace(get_current_stream=lambda: stream),
    )
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    from fusedstep import cuda

    monkeypatch.setattr(cuda, "libraries", [cuda.CuPy()])
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


def test_torch_is_not_asked_attribute_by_attribute(on_device, monkeypatch):
    w = on_device(np.ones((3, 4), np.float32))
    kind = type(w)
    opt = fs.SGD({"w": w}, lr=0.5)
    if kind.__dlpack_c_exchange_api__ is not None:  # else there is no other way
        monkeypatch.setattr(kind, "get_device", None)
    opt.step({"w": on_device(np.ones((3, 4), np.float32))})
    assert float(w[0, 0]) == 0.5
