"""What only a card can show: streams, devices, foreign arrays, and more than 2**31 bytes.

Bits, on a card too, are compared in test_exact.py, and captured graphs in test_graphs.py.
"""

import importlib
import os

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from cuda_libraries import ON_A_CARD, Pair, library_or_skip, why_not

SLEEP = 400_000_000  # cycles of a card, some 0.2 s


def normal(size, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(size).astype(dtype)


@pytest.fixture
def torch():
    library_or_skip("torch")
    return importlib.import_module("torch")


@pytest.fixture
def cupy():
    library_or_skip("cupy")
    return importlib.import_module("cupy")


@pytest.mark.parametrize("name", ON_A_CARD)
def test_the_libraries_on_the_card(name):
    """One skip for each that test_exact.py has not tried here."""
    pair = Pair(library_or_skip(name), "adam", [normal(5)])
    pair.step([normal(5, 1)])
    pair.check()


def test_the_card_is_named(torch):
    assert fs.show_config("dict")["cuda"] == [
        torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())
    ]


# Streams -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"max_grad_norm": 1.0, "skip_nonfinite": True}], ids=len)
def test_a_step_comes_after_what_its_stream_does_before(torch, options):
    w, g = normal(100_003), normal(100_003, 1)
    host = fs.AdamW(w.copy(), **options)
    param, grad = torch.tensor(w, device="cuda"), torch.zeros(len(g), device="cuda")
    real, stream = torch.tensor(g, device="cuda"), torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        opt = fs.AdamW(param, **options)
        for k in range(3):
            torch.cuda._sleep(SLEEP // 4)
            torch.mul(real, k + 1.0, out=grad)
            opt.step(grad)
            torch.cuda._sleep(SLEEP // 8)
            grad.zero_()  # whoever reads later, or on another stream, reads this
            host.step(g * np.float32(k + 1))
        kept = param.clone()
    stream.synchronize()
    assert same_bits(host.params["param"], kept.cpu().numpy())


def test_cupy_streams(cupy):
    w, g = normal(100_003), normal(100_003, 1)
    host, real, slow = fs.Adam(w.copy()), cupy.array(g), cupy.ones(1 << 26, np.float32)
    param, grad = cupy.array(w), cupy.zeros(len(g), np.float32)
    opt = fs.Adam(param)
    cupy.cuda.get_current_stream().synchronize()
    with cupy.cuda.Stream(non_blocking=True) as stream:
        for _ in range(3):
            for _ in range(20):
                slow += 1
            grad[...] = real
            opt.step(grad)
            grad[...] = 0
            host.step(g)
        stream.synchronize()
    assert same_bits(host.params["param"], param.get())


@pytest.mark.parametrize("bound", [False, True])
def test_a_step_does_not_wait_for_the_device(torch, bound):
    """The gradients of the second step lie elsewhere, so that its table is written anew."""
    params = [torch.ones(n % 1000, device="cuda") for n in range(300)]
    sets = [[torch.full_like(p, k) for p in params] for k in (1.0, 2.0)]
    opt = fs.AdamW(params, max_grad_norm=1.0, skip_nonfinite=True, ema_decay=0.9)
    scale = torch.tensor(2.0, device="cuda")
    for grads in sets:  # whatever is loaded at first use
        opt.step(grads, grad_scale=scale)
    if bound:
        opt.bind(sets[0])
    torch.cuda.synchronize()
    torch.cuda._sleep(5 * SLEEP)
    results = [opt.step(*([] if bound else [grads]), grad_scale=scale) for grads in sets]
    still_running = not torch.cuda.current_stream().query()
    assert all(result.applied.item() for result in results)
    assert still_running
    assert opt.step_count == 4


def test_gradients_of_another_stream_are_waited_for(torch, cupy):
    """`__cuda_array_interface__` of CuPy names the stream that writes them."""
    w, g = normal(5001), normal(5001, 1)
    param = torch.tensor(w, device="cuda")
    opt, real, slow = fs.SGD(param, lr=0.5), cupy.array(g), cupy.ones(1 << 26, np.float32)
    grad = cupy.zeros(len(g), np.float32)
    cupy.cuda.Device().synchronize()

    class InterfaceAlone:
        """The interface alone, by which CuPy's own arrays are read only where nothing is faster."""

        def __init__(self, array):
            self.array = array

        @property
        def __cuda_array_interface__(self):
            return self.array.__cuda_array_interface__

    with cupy.cuda.Stream(non_blocking=True) as stream:
        for _ in range(20):
            slow += 1
        grad[...] = real
        given = InterfaceAlone(grad)
        if given.__cuda_array_interface__.get("stream") is None:
            pytest.skip("needs a CUDA device and a CuPy that names its streams")
        opt.step(given)
    stream.synchronize()
    host = fs.SGD(w.copy(), lr=0.5)
    host.step(g)
    assert same_bits(host.params["param"], param.cpu().numpy())


# Arrays --------------------------------------------------------------------------------------------


def test_a_model_of_torch(torch):
    """Its own parameters, which require grad, and the gradients of a backward pass."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(37, 19), torch.nn.ReLU(), torch.nn.Linear(19, 3))
    model.cuda()
    params = dict(model.named_parameters())
    here = {name: p.detach().cpu().numpy().copy() for name, p in params.items()}
    options = {"lr": 0.1, "max_grad_norm": 0.5, "ema_decay": 0.9}
    host, opt = fs.AdamW(here, **options), fs.AdamW(params, **options)
    for _ in range(3):
        model.zero_grad()
        model(torch.ones(5, 37, device="cuda")).square().mean().backward()
        grads = {name: p.grad for name, p in params.items()}
        host.step({name: grad.cpu().numpy() for name, grad in grads.items()})
        opt.step(grads)
    for name, param in params.items():
        assert same_bits(host.params[name], param.detach().cpu().numpy())
        assert param.requires_grad


class OnlyDLPack:
    """A tensor by way of DLPack alone."""

    def __init__(self, tensor):
        self.tensor = tensor

    def __dlpack__(self, **options):
        return self.tensor.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.tensor.__dlpack_device__()


def test_gradients_by_way_of_dlpack(torch):
    w, g = normal((7, 3)), normal((7, 3), 1)
    host, opt = fs.SGD(w.copy()), fs.SGD(param := torch.tensor(w, device="cuda"))
    host.step(g)
    opt.step(OnlyDLPack(torch.tensor(g, device="cuda")))
    assert same_bits(host.params["param"], param.cpu().numpy())


def test_libraries_side_by_side(torch, cupy):
    """Each parameter's library allocates its state; gradients come from the other."""
    values, grads = [normal(9), normal(9, 1)], [normal(9, 2), normal(9, 3)]
    host = fs.Adam([v.copy() for v in values])
    there = [torch.tensor(values[0], device="cuda"), cupy.array(values[1])]
    opt = fs.Adam(there)
    cupy.cuda.Device().synchronize()
    host.step(grads)
    opt.step([cupy.array(grads[0]), torch.tensor(grads[1], device="cuda")])
    assert isinstance(opt.state["0"]["exp_avg"], torch.Tensor)
    assert isinstance(opt.state["1"]["exp_avg"], cupy.ndarray)
    torch.cuda.synchronize()
    assert same_bits(host.params["0"], there[0].cpu().numpy())
    assert same_bits(host.params["1"], there[1].get())


def test_refusals(torch):
    w = torch.ones(3, 4, device="cuda")
    opt = fs.SGD({"w": w}, lr=1.0)
    for grad, words in (
        (torch.ones(3, 4), "memory on cuda:0 like its parameter, got an array on the CPU (torch."),
        (torch.ones(4, 3, device="cuda").t(), "a contiguous array in C order like its parameter"),
        (torch.ones(3, 4, device="cuda").double(), "dtype float32 like its parameter"),
        (w, ""),
    ):
        with pytest.raises((TypeError, ValueError), match=r"^gradient of 'w': ") as info:
            opt.step({"w": grad})
        assert words in str(info.value)
    with pytest.raises(TypeError, match=r"^parameter '1': expected an array on cuda:0 like"):
        fs.SGD([w, np.ones(3, np.float32)])
    assert torch.equal(w, torch.ones_like(w))
    assert opt.step_count == 0


def test_two_devices(torch):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs a CUDA device more: two of them")
    here, there = (torch.tensor(normal(9), device=f"cuda:{i}") for i in range(2))
    with pytest.raises(ValueError, match="cuda:0") as info:
        fs.Adam([here, there])
    assert "cuda:1" in str(info.value)
    host, opt = (fs.Adam(p, max_grad_norm=1.0) for p in (normal(9), there))
    host.step(normal(9, 1))
    result = opt.step(torch.tensor(normal(9, 1), device="cuda:1"))
    assert result.grad_norm.device == there.device
    assert torch.cuda.current_device() == 0
    assert same_bits(host.params["param"], there.cpu().numpy())


# Sizes ---------------------------------------------------------------------------------------------


def _host_memory():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")


def test_more_bytes_than_32_bits_count(torch):
    size = (1 << 29) + 12_345  # elements of 4 bytes
    free, _ = torch.cuda.mem_get_info()
    if free < 16 * size or _host_memory() < 20 * size:
        pytest.skip("needs a CUDA device with more memory free, or a host with it")
    param, grad = (torch.empty(size, device="cuda").normal_() for _ in range(2))
    w, g = param.cpu().numpy(), grad.cpu().numpy()
    host, opt = (fs.SGD(p, lr=0.1, max_grad_norm=1.0) for p in (w, param))
    expected, got = host.step(g), opt.step(grad)
    assert got.grad_norm.item() == expected.grad_norm
    assert torch.equal(param, torch.from_numpy(w).cuda())


def test_why_not_says_what_is_missing():
    assert all(why_not(name) == "" or "needs a CUDA device" in why_not(name) for name in ON_A_CARD)
