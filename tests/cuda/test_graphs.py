"""Steps captured in a CUDA graph and replayed: the bits of as many steps on the CPU."""

import importlib

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from cuda_libraries import library_or_skip

WHOLE = {"max_grad_norm": 1.0, "ema_decay": 0.9}
SIZES = (100_003, 1, 7, 0, 4099)


@pytest.fixture
def torch():
    library_or_skip("torch")
    return importlib.import_module("torch")


class HostAndDevice:
    """An optimizer on the CPU, and one on the device whose step is captured after warm-ups."""

    def __init__(self, torch, rule="adamw", warm=2, **options):
        rng = np.random.default_rng(0)
        self.torch, self._rng = torch, np.random.default_rng(1)
        self.values = [rng.standard_normal(n).astype(np.float32) for n in SIZES]
        self.params = [torch.tensor(v, device="cuda") for v in self.values]
        self.grads = [torch.zeros_like(p) for p in self.params]
        self.host = fs.create(rule, self.values, **options)
        self.device = fs.create(rule, self.params, **options)
        for _ in range(warm):
            self.both(self.step)
        self.result = None

    def next_gradients(self):
        """Into the memory that the graph reads, and for the CPU."""
        here = [self._rng.standard_normal(n).astype(np.float32) for n in SIZES]
        for grad, value in zip(self.grads, here, strict=True):
            grad.copy_(self.torch.from_numpy(value))
        return here

    def step(self):
        self.result = self.device.step(self.grads)

    def capture(self, call=None):
        graph = self.torch.cuda.CUDAGraph()
        with self.torch.cuda.graph(graph):
            (call or self.step)()
        return graph

    def both(self, on_device):
        """A step on the CPU, and what makes it on the device."""
        expected = self.host.step(self.next_gradients())
        on_device()
        return expected

    def check(self):
        for ours, theirs in zip(self.values, self.params, strict=True):
            assert same_bits(ours, theirs.cpu().numpy())
        for name, state in self.host.state.items():
            other = self.device.state[name]
            assert state["step"] == other["step"]
            for kind in state.keys() - {"step"}:
                assert same_bits(state[kind], other[kind].cpu().numpy()), (name, kind)
        if self.host._setup.policy.ema_decay is not None:
            for name, average in self.host.ema.items():
                assert same_bits(average, self.device.ema[name].cpu().numpy()), name
        assert self.host.step_count == self.device.step_count


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("adamw", WHOLE),
        ("adamw", {"amsgrad": True}),
        ("nadam", WHOLE),
        ("lamb", WHOLE),
        ("schedulefreeadamw", {"skip_nonfinite": True}),
        ("rprop", {}),
    ],
    ids=str,
)
def test_replays_are_steps(torch, rule, options):
    """With the bias corrections of every one of them."""
    pair = HostAndDevice(torch, rule, **options)
    graph = pair.capture()
    pair.check()  # capturing moved nothing
    for _ in range(5):
        expected = pair.both(graph.replay)
        if expected.grad_norm is not None:
            assert pair.result.grad_norm.item() == expected.grad_norm
            assert pair.result.applied.item() is expected.applied
    pair.check()
    assert pair.device.step_count == 7


def test_options_are_those_of_the_replay(torch):
    pair = HostAndDevice(torch, **WHOLE)
    graph = pair.capture()
    for lr in (0.1, 0.05, 1e-4):
        pair.host.lr = pair.device.lr = lr
        pair.host.groups[0]["weight_decay"] = pair.device.groups[0]["weight_decay"] = lr / 2
        pair.both(graph.replay)
        pair.both(graph.replay)
    pair.check()


def test_eager_steps_and_a_second_graph_in_between(torch):
    pair = HostAndDevice(torch, **WHOLE)
    first = pair.capture()
    pair.both(first.replay)
    pair.both(pair.step)
    second = pair.capture()
    others = [torch.zeros_like(grad) for grad in pair.grads]

    def elsewhere():
        for other, grad in zip(others, pair.grads, strict=True):
            other.copy_(grad)
        pair.device.step(others)

    for make in (second.replay, elsewhere, first.replay, pair.step, second.replay):
        pair.both(make)
    pair.check()


def test_a_replay_that_is_called_off_moves_nothing(torch):
    pair = HostAndDevice(torch, skip_nonfinite=True, **WHOLE)
    graph = pair.capture()
    pair.both(graph.replay)
    assert pair.result.applied.item() is True
    before = [param.clone() for param in pair.params]
    pair.next_gradients()
    pair.grads[4][4098] = float("inf")
    graph.replay()
    assert pair.result.applied.item() is False
    assert all(torch.equal(a, b) for a, b in zip(before, pair.params, strict=True))
    assert pair.device.step_count == 3
    pair.both(graph.replay)
    pair.check()


def test_a_scale_on_the_device_is_read_by_the_replay(torch):
    pair = HostAndDevice(torch, **WHOLE)
    scale = torch.tensor(1.0, device="cuda")
    graph = pair.capture(lambda: pair.device.step(pair.grads, grad_scale=scale))
    for number in (2.0, 3.0, 65536.0):
        scale.fill_(number)
        pair.host.step(pair.next_gradients(), grad_scale=number)
        graph.replay()
    pair.check()


def test_sets_and_zeroing_in_a_graph(torch):
    pair = HostAndDevice(torch, **WHOLE)
    more, ones = [torch.ones_like(grad) for grad in pair.grads], [np.ones(n, "f4") for n in SIZES]

    def call():
        pair.device.step_mean([pair.grads, more], [1.0, 3.0], zero_grads=True)

    graph = pair.capture(call)
    for _ in range(2):
        for grad in more:
            grad.fill_(1)
        pair.host.step_mean([pair.next_gradients(), ones], [1.0, 3.0])
        graph.replay()
        assert not any(grad.any().item() for grad in (*pair.grads, *more))
    pair.check()


def test_rows_in_a_graph(torch):
    w = np.random.default_rng(2).standard_normal((9, 5)).astype(np.float32)
    there = torch.tensor(w, device="cuda")
    rows = torch.zeros(4, 5, device="cuda")
    indices = np.array([8, 0, 8, 3])
    host, opt = fs.Adam({"w": w}), fs.Adam({"w": there})
    host.step_rows("w", indices, np.zeros((4, 5), np.float32))
    opt.step_rows("w", indices, rows)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        opt.step_rows("w", indices, rows)
    for seed in range(3):
        given = np.random.default_rng(seed).standard_normal((4, 5)).astype(np.float32)
        rows.copy_(torch.from_numpy(given))
        host.step_rows("w", indices, given)
        graph.replay()
    assert same_bits(w, there.cpu().numpy())
    assert opt.state["w"]["step"] == host.state["w"]["step"] == 4


def test_what_waits_is_refused_and_the_capture_goes_on(torch):
    pair = HostAndDevice(torch, skip_nonfinite=True)
    careful = fs.SGD({"w": torch.ones(3, device="cuda")}, error_if_nonfinite=True)
    grad, which = torch.ones(3, device="cuda"), torch.tensor([0], device="cuda")
    table = fs.SGD({"w": torch.ones(3, 2, device="cuda")})
    rows = torch.ones(1, 2, device="cuda")
    careful.step({"w": grad})
    seen = []

    def call():
        for refused in (
            lambda: careful.step({"w": grad}),
            lambda: table.step_rows("w", which, rows),
            pair.device.state_dict,
            lambda: pair.device.step_count,
        ):
            with pytest.raises(ValueError, match="captur"):
                refused()
            seen.append(refused)
        pair.step()

    graph = pair.capture(call)
    assert len(seen) == 4
    pair.both(graph.replay)
    pair.check()
    assert careful.step_count == 1


def test_parameters_come_before_the_first_captured_step(torch):
    pair = HostAndDevice(torch)
    graph = pair.capture()
    more = {"params": {"more": torch.ones(3, device="cuda")}}
    with pytest.raises(ValueError, match=r"^parameter 'more': expected before the first step"):
        pair.device.add_group(more)
    pair.both(graph.replay)
    pair.check()


def test_saved_after_replays(torch):
    pair, other = HostAndDevice(torch, **WHOLE), HostAndDevice(torch, warm=0, **WHOLE)
    graph = pair.capture()
    for _ in range(3):
        pair.both(graph.replay)
    other.host.load_state_dict(pair.device.state_dict())
    for name, state in pair.host.state.items():
        for kind, value in state.items():
            assert np.array_equal(other.host.state[name][kind], value), (name, kind)
    # And back: a loaded counter is what the next replay goes on from.
    pair.device.load_state_dict(pair.host.state_dict())
    pair.both(graph.replay)
    pair.check()


def test_cupy():
    library_or_skip("cupy")
    cupy = importlib.import_module("cupy")
    w, grads = np.ones(5001, np.float32), np.random.default_rng(0).standard_normal((4, 5001))
    grads = grads.astype(np.float32)
    host, param, grad = fs.AdamW(w.copy()), cupy.array(w), cupy.array(grads[0])
    cupy.cuda.Device().synchronize()  # the stream below does not wait for these
    with cupy.cuda.Stream(non_blocking=True) as stream:
        opt = fs.AdamW(param)
        opt.step(grad)
        stream.synchronize()
        stream.begin_capture()
        opt.step(grad)
        graph = stream.end_capture()
        for given in grads[1:]:
            grad.set(given)
            graph.launch(stream)
        stream.synchronize()
    for given in grads:
        host.step(given)
    assert same_bits(host.params["param"], param.get())
    assert opt.step_count == 4
