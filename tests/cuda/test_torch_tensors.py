"""Tensors of torch on a device, as their attributes and as they themselves in C describe them: played by
a class of tensors on the CPU.
"""

import sys
import types

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from dlpack_in_c import torch_table
from emulated_cuda import device_array, floats
from narrow_modes import KEPT

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.fixture(params=["attributes", "in C"])
def on_device(request, monkeypatch):
    """Makes CPU tensors that say they are on cuda:0, and a library whose tensors stay there.

    Their attribute `told` has what else they say in C otherwise than torch.
    """
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    if request.param == "in C" and not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"):
        pytest.skip("torch before 2.10 describes nothing in C")

    class Tensor(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl
        is_cuda = True
        __dlpack_c_exchange_api__ = (
            torch_table(torch, device_type=2)[0] if request.param == "in C" else None
        )

        def get_device(self):
            return self.where

        where = 0

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


def test_torch_is_not_asked_attribute_by_attribute(on_device, monkeypatch):
    w = on_device(np.ones((3, 4), np.float32))
    kind = type(w)
    opt = fs.SGD({"w": w}, lr=0.5)
    if kind.__dlpack_c_exchange_api__ is not None:  # else there is no other way
        monkeypatch.setattr(kind, "get_device", None)
    opt.step({"w": on_device(np.ones((3, 4), np.float32))})
    assert float(w[0, 0]) == 0.5


MOVED = "gradient of 'w': expected memory on cuda:0 like its parameter, got memory on cuda:1"


def lost(_):
    raise RuntimeError("lost")


ODD_GRADIENTS = {
    "on another device": ({"where": 1}, {"device_id": 1}, MOVED),
    "nowhere": ({"where": "0"}, {"device_id": 1}, "got Tensor ("),
    "lost": ({"where": property(lost)}, {"device_id": 1}, "got Tensor (lost)"),
    "without an address": ({"data_ptr": lost}, {"device_id": 1}, "got Tensor (lost)"),
    "shapeless": ({"shape": property(lost)}, {"device_id": 1}, "got Tensor (lost)"),
}


@pytest.mark.parametrize(("attributes", "told", "words"), ODD_GRADIENTS.values(), ids=ODD_GRADIENTS)
def test_gradients_on_odd_devices(on_device, attributes, told, words):
    w = on_device(floats(2, 3))
    opt = fs.SGD({"w": w})
    kind = type("Tensor", (type(w),), attributes)
    kind.__dlpack_c_exchange_api__ = type(w).__dlpack_c_exchange_api__
    grad = on_device(floats(2, 3)).as_subclass(kind)
    grad.told = told
    with pytest.raises((TypeError, ValueError), match=r"^gradient of 'w'") as info:
        opt.step({"w": grad})
    assert words in str(info.value)
    opt.step({"w": on_device(floats(2, 3))})


def test_a_gradient_of_another_library(on_device):
    w = on_device(np.ones(3, "float32"))
    fs.SGD({"w": w}, lr=1.0).step({"w": device_array(np.ones(3, "float32"))})
    assert not w.detach().numpy().any()


@pytest.mark.parametrize("offset", [0, 1])
def test_gradients_where_nothing_can_lie(on_device, offset):
    torch = sys.modules["torch"]
    w = on_device(np.ones(3, "float32"))
    opt = fs.SGD({"w": w})
    grad = on_device(np.ones(3, "float32"))
    grad.data_ptr = lambda: offset
    grad.told = {"data": offset, "byte_offset": 0}
    words = "address divisible by 4" if offset else "without memory"
    with pytest.raises(ValueError, match=f"^gradient of 'w': .*{words}"):
        opt.step({"w": grad})
    assert torch.equal(w.as_subclass(torch.Tensor), torch.ones(3))


def test_tensors_without_elements(on_device):
    w, nothing = on_device(np.ones(3, "float32")), on_device(np.ones((0, 2), "float32"))
    opt = fs.SGD({"nothing": nothing, "w": w}, lr=1.0)
    for _ in range(2):
        opt.step({"nothing": on_device(np.ones((0, 2), "float32")), "w": on_device(floats(3))})
    assert opt.step_count == 2


@pytest.mark.parametrize("on_device", ["in C"], indirect=True)
@pytest.mark.parametrize("role", ["parameter", "bound gradient"])
@pytest.mark.parametrize("told", [None, {"ndim": 0}, {"data": 64}])
def test_a_tensor_that_describes_itself_otherwise_later(on_device, role, told):
    w, g = on_device(floats(3)), on_device(floats(3))
    opt = fs.SGD({"w": w})
    opt.bind({"w": g})
    changed = w if role == "parameter" else g
    changed.told = told
    if role == "bound gradient" and told == {"ndim": 0}:  # its elements are where they were
        opt.step()
        return
    name = role.replace("bound gradient", "gradient of")
    with pytest.raises(
        fs.ArrayChangedError, match=f"^{name} 'w': expected the array as it was when it was handed"
    ):
        opt.step()


def test_tensors_that_are_not_on_a_cuda_device(on_device):
    torch = sys.modules["torch"]
    opt = fs.SGD({"w": on_device(floats(3))})
    with pytest.raises(TypeError, match=r"^gradient of 'w': .*, got a tensor on meta$"):
        opt.step({"w": torch.empty(3, device="meta")})


def test_sparse_tensors(on_device):
    w = on_device(floats(3))
    kind = type("Sparse", (type(w),), {"layout": "torch.sparse_coo"})
    with pytest.raises(
        TypeError,
        match=r"^parameter 'w': expected a dense tensor, got one of layout torch.sparse_coo$",
    ):
        fs.SGD({"w": w.as_subclass(kind)})


def test_a_tensor_with_code_of_its_own(on_device):
    """Its description may run code in Python: it is asked before all arrays are looked at."""
    torch = sys.modules["torch"]

    def dispatch(cls, function, types, args=(), kwargs=None):  # noqa: ARG001
        return function(*args, **(kwargs or {}))

    kind = type(on_device(floats(3)))
    logged = type("Tensor", (kind,), {"__torch_dispatch__": classmethod(dispatch)})
    w = torch.Tensor._make_subclass(logged, torch.ones(3))
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.step({"w": on_device(np.ones(3, "float32"))})
    w.data = torch.ones(3).as_subclass(logged)
    with pytest.raises(fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was"):
        opt.step({"w": on_device(np.ones(3, "float32"))})


def test_a_result_on_another_device(on_device, monkeypatch):
    from fusedstep import cuda

    class Elsewhere(type(cuda.libraries[0])):
        def scalar(self, array, dtype):
            result = super().scalar(array, dtype)
            result.told, result.where = {"device_id": 1}, 1
            return result

    monkeypatch.setattr(cuda, "libraries", [Elsewhere()])
    opt = fs.SGD({"w": on_device(floats(3))}, max_grad_norm=1.0)
    with pytest.raises(
        ValueError, match=r"^applied: expected memory on cuda:0 like the parameters"
    ):
        opt.step({"w": on_device(floats(3))})
