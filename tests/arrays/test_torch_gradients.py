"""PyTorch's CPU tensors as gradients: which are taken, and what is said of the others."""

import re

import numpy as np
import pytest

import fusedstep as fs
from optimizers import needs_dlpack

torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
pytestmark = needs_dlpack


class Renamed(torch.Tensor):
    """Does what a Tensor does, through Python."""


class Held(torch.Tensor):
    """A tensor without memory of its own, around another one."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    def __init__(self, inner):
        self.inner = inner

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(*(arg.inner if isinstance(arg, cls) else arg for arg in args))


def freed():
    tensor = torch.ones(2, 3)
    tensor.untyped_storage().resize_(0)
    return tensor


FITTING = {
    "plain": lambda: torch.ones(2, 3),
    "in the middle of another": lambda: torch.ones(4, 3)[1:3],
    "followed by autograd": lambda: torch.ones(2, 3, requires_grad=True),
    "of a graph": lambda: torch.ones(2, 3, requires_grad=True) * 1.0,
    "parameter": lambda: torch.nn.Parameter(torch.ones(2, 3)),
    "subclass": lambda: torch.ones(2, 3).as_subclass(Renamed),
    "resolved": lambda: torch._neg_view(-torch.ones(2, 3)).resolve_neg(),
    "copied when written": lambda: torch._lazy_clone(torch.ones(2, 3)),
}


@pytest.mark.parametrize("grad", FITTING.values(), ids=FITTING)
def test_gradients_that_fit(grad):
    w, numpys = torch.zeros(2, 3), np.zeros((2, 3), np.float32)
    opt = fs.SGD({"w": w, "n": numpys}, lr=1.0)
    opt.step({"w": grad(), "n": grad()})
    opt.bind({"w": grad()})
    opt.step()
    opt.step_sum([{"n": grad()}, {"n": grad()}])
    assert (w == -2).all()
    assert (numpys == -3).all()
    zeroed = grad()
    opt.step({"w": zeroed}, zero_grads=True)
    assert (zeroed == 0).all()
    assert (w == -3).all()


A_VIEW = "expected an array that NumPy can view through DLPack without a copy, got Tensor "
WITHOUT = "expected memory on the CPU, got shape (2, 3) with strides (12, 4) without memory"
GAPS = "expected a contiguous array in C order like its parameter, got shape (2, 3) with strides "

MISFITS = {
    "dtype": (
        lambda: torch.ones(2, 3, dtype=torch.float64),
        "expected dtype float32, bfloat16 or float16 beside its parameter of float32, got float64",
    ),
    "bits": (
        lambda: torch.ones(2, 3, dtype=torch.int32),
        "expected dtype float32, bfloat16 or float16 beside its parameter of float32, got int32",
    ),
    "shape": (
        lambda: torch.ones(3, 2),
        "expected shape (2, 3) like its parameter, got (3, 2)",
    ),
    "axes": (lambda: torch.ones(6), "expected shape (2, 3) like its parameter, got (6,)"),
    "turned": (lambda: torch.ones(3, 2).t(), GAPS + "(4, 8)"),
    "gaps": (lambda: torch.ones(2, 6)[:, ::2], GAPS + "(24, 8)"),
    "expanded": (lambda: torch.ones(3).expand(2, 3), GAPS + "(0, 4)"),
    "negative": (
        lambda: torch._neg_view(torch.ones(2, 3)),
        A_VIEW + "(its negative bit is set: use resolve_neg())",
    ),
    "conjugate": (
        lambda: torch.ones(2, 3, dtype=torch.complex64).conj(),
        "expected dtype float32, bfloat16 or float16 beside its parameter of float32, got torch.complex64",
    ),
    "sparse": (
        lambda: torch.ones(2, 3).to_sparse(),
        A_VIEW + "(Can't export tensors with layout other than torch.strided)",
    ),
    "meta": (lambda: torch.ones(2, 3, device="meta"), A_VIEW + "(Cannot pack tensors on meta"),
    "freed": (freed, WITHOUT),
    "without memory": (
        lambda: Held(torch.ones(2, 3)),
        A_VIEW.replace("Tensor", "Held") + "(it has no memory of its own",
    ),
    "zero without memory": (lambda: torch._efficientzerotensor((2, 3)), WITHOUT),
}


@pytest.mark.parametrize(("grad", "words"), MISFITS.values(), ids=MISFITS)
def test_fault_38_gradients_that_do_not_fit(grad, words):
    w, v = torch.zeros(2, 3), torch.zeros(2)
    opt = fs.SGD({"v": v, "w": w}, lr=1.0)
    for step in (opt.step, opt.bind, lambda grads: opt.step_mean([grads])):
        with pytest.raises((TypeError, ValueError), match=re.escape(f"gradient of 'w': {words}")):
            step({"v": torch.ones(2), "w": grad()})
    assert opt.step_count == 0
    assert not v.any()


def test_a_negative_number_of_a_conjugate():
    """The negative bit that ordinary code may put on memory without gaps."""
    grad = torch.tensor(1 + 2j).conj().imag
    w = torch.zeros(())
    opt = fs.SGD({"w": w}, lr=1.0)
    with pytest.raises(TypeError, match="negative bit"):
        opt.step({"w": grad})
    opt.step({"w": grad.resolve_neg()})
    assert w == 2


def test_fault_38_channels_last_wants_channels_last():
    shape, last = (2, 3, 4, 4), torch.channels_last
    opt = fs.SGD({"w": torch.zeros(shape)})
    named = "torch's channels_last: use .contiguous()"
    with pytest.raises(
        ValueError, match=f"gradient of 'w': expected a contiguous array in C order.*{named}"
    ):
        opt.step({"w": torch.ones(shape).to(memory_format=last)})
    volume = torch.zeros(2, 3, 4, 4, 5).to(memory_format=torch.channels_last_3d)
    for w in (torch.zeros(shape).to(memory_format=last), volume):
        opt = fs.SGD({"w": w}, lr=1.0)
        opt.step({"w": torch.ones_like(w)})
        assert torch.equal(w, -torch.ones(w.shape))
        with pytest.raises(ValueError, match=r"strides \(.*\) \(torch's channels_last\) like its"):
            opt.step({"w": torch.ones(w.shape)})
    turned = torch.zeros(2, 3, 4, 4).permute(0, 2, 1, 3)
    fs.SGD({"w": turned}, lr=1.0).step({"w": torch.ones_like(turned)})
    assert torch.equal(turned, -torch.ones(2, 4, 3, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.ones(()),
        lambda: torch.ones(1, 4, 1),
        lambda: torch.ones(4, 1).t(),
        lambda: torch.ones(5, 3).t(),
        lambda: torch.ones(0),
    ],
)
def test_gradients_of_the_order_of_their_parameter(make):
    w = make()
    opt = fs.SGD({"w": w}, lr=3.0)
    opt.step({"w": make()})
    assert (w == -2).all()


def test_a_negative_parameter_is_refused():
    with pytest.raises(TypeError, match=r"parameter 'w': .* got Tensor .its negative bit is set"):
        fs.SGD({"w": torch._neg_view(torch.ones(2))})


def test_a_tensor_that_is_known_is_not_taken_for_another():
    """The negative bit is asked for once an object: not of others in its memory or in its place."""
    w = torch.zeros(2)
    opt = fs.SGD({"w": w}, lr=1.0)
    grad = torch.ones(2)
    for _ in range(3):
        opt.step({"w": grad})
    negatives = [torch._neg_view(grad)]
    places = {id(grad)}
    del grad
    while id(negatives[-1]) not in places and len(negatives) < 1000:
        negatives.append(torch._neg_view(torch.ones(2)))
    for grad in negatives:
        with pytest.raises(TypeError, match="its negative bit is set"):
            opt.step({"w": grad})
    assert (w == -3).all()
