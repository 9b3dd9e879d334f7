"""CUDA arrays through the whole face, with the CPU playing the device: what is taken, what is
refused and in which words, and that the rest of the library works there as it does on the CPU.

The bits of every rule are compared in test_exact.py; here the way is what is looked at.
"""

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from emulated_cuda import Fake, FakeDLPack, FakeLibrary, device_array, on_device, to_numpy

pytestmark = pytest.mark.usefixtures("emulated")

WHOLE = {"max_grad_norm": 1.0, "skip_nonfinite": True, "ema_decay": 0.9}


def numbers(seed=0):
    rng = np.random.default_rng(seed)
    return {
        "a": rng.standard_normal((5, 3)).astype(np.float32),
        "b": np.asfortranarray(rng.standard_normal((4, 6))),
        "c": rng.standard_normal(()),
        "d": np.zeros((0, 2), np.float32),
        "turned": rng.standard_normal((5, 3, 4)).transpose(1, 2, 0).astype(np.float32),
    }


def copied(tree):
    return {name: array.copy(order="K") for name, array in tree.items()}


def assert_same(host, device):
    """Parameters, state and averages to the last bit."""
    for name, param in host.params.items():
        assert same_bits(param, to_numpy(device.params[name])), name
        assert host.state[name].keys() == device.state[name].keys()
        for state, array in host.state[name].items():
            other = device.state[name][state]
            assert array == other if state == "step" else same_bits(array, to_numpy(other))
        if host._setup.policy.ema_decay is not None:
            assert same_bits(host.ema[name], to_numpy(device.ema[name])), name


@pytest.fixture
def pair():
    """The same optimizer on the CPU and on the device, and gradients for both."""

    def make(rule="adamw", **options):
        params = numbers()
        host = fs.create(rule, params, **options)
        return host, fs.create(rule, on_device(numbers()), **options), numbers(1)

    return make


# The whole face ------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["adamw", "sgd", "rprop", "yogi", "schedulefreeadamw"])
@pytest.mark.parametrize("options", [{}, WHOLE, {**WHOLE, "ema_bias_correction": True}], ids=len)
def test_steps_are_those_of_the_cpu(pair, rule, options):
    host, device, grads = pair(rule, **options)
    for _ in range(3):
        expected, got = host.step(grads), device.step(on_device(grads))
        assert bool(to_numpy(got.applied)) is expected.applied if options else got == expected
        if options:
            assert to_numpy(got.grad_norm) == expected.grad_norm
    assert_same(host, device)
    assert device.step_count == 3


def test_state_lies_on_the_device_in_the_order_of_the_parameter(pair):
    _, device, _ = pair()
    for name, param in device.params.items():
        state = device.state[name]["exp_avg"]
        assert isinstance(state, Fake)
        assert to_numpy(state).strides == to_numpy(param).strides


def test_a_gradient_in_another_order_is_refused(pair):
    _, device, grads = pair()
    grads["turned"] = np.ascontiguousarray(grads["turned"])
    words = r"^gradient of 'turned': expected strides \(16, 4, 48\) like its parameter, got shape"
    with pytest.raises(ValueError, match=words):
        device.step(on_device(grads))


def test_bound_gradients_are_read_anew(pair):
    host, device, grads = pair()
    there = on_device(grads)
    host.bind(grads)
    device.bind(there)
    for _ in range(2):
        host.step()
        device.step()
        for name, grad in grads.items():
            grad *= 2
            to_numpy(there[name])[...] *= 2
    assert_same(host, device)


@pytest.mark.parametrize("how", ["step_mean", "step_sum"])
def test_gradient_sets(pair, how):
    host, device, grads = pair()
    sets = [grads, numbers(2), numbers(3)]
    getattr(host, how)(sets, [1.0, 2.0, 0.5], grad_scale=4.0)
    getattr(device, how)([on_device(one) for one in sets], [1.0, 2.0, 0.5], grad_scale=4.0)
    assert_same(host, device)


def test_a_rule_of_rows():
    params = {name: np.ascontiguousarray(array) for name, array in numbers().items()}
    params["c"] = params["c"].reshape(())
    host, device = (fs.RowwiseAdagrad(p, **WHOLE) for p in (params, on_device(params)))
    for seed in (1, 2):
        grads = {name: np.ascontiguousarray(array) for name, array in numbers(seed).items()}
        grads["c"] = grads["c"].reshape(())
        host.step(grads)
        device.step(on_device(grads))
    assert_same(host, device)
    device.load_state_dict(host.state_dict())
    bad = np.asfortranarray(params["b"])
    with pytest.raises(ValueError, match=r"^parameter 'b': expected an array of rows in C order"):
        fs.RowwiseAdagrad({"b": device_array(bad)})


@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("there", [False, True])
def test_rows(pair, dtype, there):
    host, device, _ = pair(**WHOLE)
    indices = np.array([3, 0, 3, 4], dtype)
    rows = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)
    host.step_rows("a", indices, rows, grad_scale=3.0)
    device.step_rows(
        "a", device_array(indices) if there else indices, device_array(rows), grad_scale=3.0
    )
    assert_same(host, device)
    assert device.step_count == 0
    nothing = device.step_rows("a", np.zeros(0, dtype), device_array(rows[:0]))
    assert nothing == fs.StepResult(applied=True, grad_norm=None)


def test_rows_and_the_rest_in_one_step(pair):
    host, device, grads = pair(**WHOLE)
    rest = {name: grad for name, grad in grads.items() if name != "a"}
    indices = np.array([3, 0, 3, 4])
    rows = np.random.default_rng(5).standard_normal((4, 3)).astype(np.float32)
    for _ in range(2):
        with host.one_step(grad_scale=3.0) as here:
            host.step(rest)
            host.step_rows("a", indices, rows)
        with device.one_step(grad_scale=3.0) as there:
            device.step(on_device(rest))
            device.step_rows("a", indices, device_array(rows))
        assert to_numpy(there.result.grad_norm) == here.result.grad_norm
    host.step_rows("a", indices, rows, advance=True)
    device.step_rows("a", indices, device_array(rows), advance=True)
    assert_same(host, device)
    assert device.step_count == 3


def test_gradients_of_frozen_parameters_are_zeroed(pair):
    host, device, grads = pair(**WHOLE)
    there = on_device(grads)
    for opt, given in ((host, grads), (device, there)):
        opt.freeze("a")
        opt.step(given, zero_grads=True)
    assert_same(host, device)
    assert not any(to_numpy(grad).any() for grad in there.values())

    there["b"] = device_array(np.full_like(to_numpy(there["b"]), np.nan))
    there["a"] = device_array(np.ones_like(to_numpy(there["a"])))
    device.step(there, zero_grads=True)  # skipped
    assert (to_numpy(there["a"]) == 1).all()


def test_freeze_and_add_group(pair):
    host, device, grads = pair()
    more = np.arange(4.0)
    host.add_group({"params": {"e": more.copy()}, "lr": 0.5})
    device.add_group({"params": {"e": device_array(more)}, "lr": 0.5})
    for opt in (host, device):
        opt.freeze("a")
    grads["e"] = np.ones(4)
    host.step(grads)
    device.step(on_device(grads))
    assert_same(host, device)
    assert device.state["a"]["step"] == 0
    assert device.frozen == {"a"}


def test_zero_grads_and_a_scale_on_the_device(pair):
    host, device, grads = pair()
    there = on_device(grads)
    for dtype, shape in (("float32", ()), ("float64", (1,))):
        scale = device_array(np.full(shape, 3.0, dtype))
        host.step(copied(grads), grad_scale=3.0)
        device.step(on_device(grads), grad_scale=scale)
    host.step(grads, grad_scale=8.0, zero_grads=True)
    device.step(there, grad_scale=8.0, zero_grads=True)
    assert_same(host, device)
    assert not any(to_numpy(grad).any() for grad in there.values())


def test_a_skipped_step_moves_nothing_and_says_so_on_the_device(pair):
    _, device, grads = pair(**WHOLE)
    grads["b"][1, 1] = np.nan
    result = device.step(on_device(grads))
    assert isinstance(result.applied, Fake)
    assert not to_numpy(result.applied)
    assert device.step_count == 0
    assert all(same_bits(to_numpy(p), numbers()[n]) for n, p in device.params.items())


def test_error_if_nonfinite(pair):
    _, device, grads = pair(error_if_nonfinite=True)
    assert to_numpy(device.step(on_device(grads)).applied)
    before = {name: to_numpy(param).copy() for name, param in device.params.items()}
    grads["b"][1, 1] = np.inf
    with pytest.raises(FloatingPointError) as info:
        device.step(on_device(grads))
    assert str(info.value) == (
        "gradient of 'b': expected finite numbers, since error_if_nonfinite, got NaN or infinity"
    )
    assert all(same_bits(to_numpy(p), before[n]) for n, p in device.params.items())
    assert device.step_count == 1


def test_saved_states_go_both_ways(pair):
    host, device, grads = pair(**WHOLE)
    for _ in range(2):
        device.step(on_device(grads))
    saved = device.state_dict()
    assert all(
        isinstance(a, (np.ndarray, int)) for s in saved["state"].values() for a in s.values()
    )
    host.load_state_dict(saved)
    assert host.step_count == 2
    host.step(grads)
    device.load_state_dict(host.state_dict())
    for name, array in host.state["b"].items():
        if name != "step":
            assert same_bits(array, to_numpy(device.state["b"][name]))
    assert device.step_count == 3
    assert device.state["b"]["step"] == 3
    saved["state"]["a"]["exp_avg"] = np.zeros(2, np.float32)
    with pytest.raises(ValueError, match=r"state 'exp_avg': expected shape \(5, 3\), got \(2,\)"):
        device.load_state_dict(saved)


@pytest.mark.parametrize("correction", [False, True])
def test_averages_swapped_in(pair, correction):
    _, device, grads = pair(ema_decay=0.9, ema_bias_correction=correction)
    device.step(on_device(grads))
    before = {name: to_numpy(param).copy() for name, param in device.params.items()}
    with device.ema.swapped_in():
        for name, param in device.params.items():
            assert same_bits(to_numpy(param), to_numpy(device.ema[name]))
    assert all(same_bits(to_numpy(p), before[n]) for n, p in device.params.items())


def test_working_copy():
    w = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    here, there = np.zeros((3, 4), np.uint16), device_array(np.zeros((3, 4), np.uint16))
    host = fs.SGD({"w": w.copy()}, lr=0.1, working_copy={"w": here})
    device = fs.SGD({"w": device_array(w)}, lr=0.1, working_copy={"w": there})
    host.step({"w": w})
    device.step({"w": device_array(w)})
    assert here.any()
    assert np.array_equal(here, to_numpy(there))


def test_schedules_follow_the_steps_without_asking_the_device(pair, monkeypatch):
    lr = fs.schedules.Cosine(0.1, total_steps=5)
    host, device, grads = pair(lr=lr)
    monkeypatch.setattr(type(device._engine.core), "steps_of", None)
    for _ in range(3):
        host.step(grads)
        device.step(on_device(grads))
    assert device.lr == host.lr == lr(3)
    monkeypatch.undo()
    assert_same(host, device)


def test_schedules_see_skipped_steps(pair):
    _, device, grads = pair(lr=lambda step: 0.1 / (1 + step), skip_nonfinite=True)
    device.step(on_device(grads))
    device.step(on_device({**grads, "c": np.array(np.nan)}))
    assert device.lr == 0.1 / 2


def test_schedule_free_methods(pair):
    host, device, grads = pair("schedulefreeadamw")
    host.step(grads)
    device.step(on_device(grads))
    host.eval()
    device.eval()
    assert_same(host, device)
    host.train()
    device.train()
    assert_same(host, device)


def test_functional():
    p, g, m, v = (np.random.default_rng(i).random(7) for i in range(4))
    there = [device_array(a) for a in (p, g, m, v)]
    fs.functional.adam(p, g, m, v, step=3, lr=0.1)
    fs.functional.adam(*there, step=3, lr=0.1)
    for array, other in zip((p, g, m, v), there, strict=True):
        assert same_bits(array, to_numpy(other))


@pytest.mark.parametrize("correction", [False, True])
def test_ema(correction):
    values = numbers()
    there = on_device(values)
    kind = {"bias_correction": correction, "init": "zeros" if correction else "copy"}
    host, device = fs.EMA(values, 0.9, **kind), fs.EMA(there, 0.9, **kind)
    for name in values:
        values[name] *= 2
        to_numpy(there[name])[...] *= 2
    host.update()
    device.update()
    device.load_state_dict(host.state_dict())
    host.load_state_dict(device.state_dict())
    for name in values:
        assert same_bits(host[name], to_numpy(device[name]))


def test_repr_and_config(pair):
    _, device, _ = pair()
    assert repr(device).startswith("AdamW(5 arrays, 100 parameters, step 0, lr=")
    names = fs.show_config("dict")["cuda"]
    assert names
    assert all(isinstance(name, str) for name in names)


class Producer(FakeDLPack):
    """Notes on which stream its numbers shall be there."""

    streams = ()

    def __dlpack__(self, *, stream=None, **options):
        Producer.streams += (stream,)
        return super().__dlpack__(stream=stream, **options)


def test_the_stream_of_the_library_is_used(monkeypatch):
    opt = fs.SGD({"w": device_array(np.zeros(3))})
    monkeypatch.setattr(FakeLibrary, "current_stream", 5)
    opt.step({"w": Producer(np.ones(3))})
    monkeypatch.setattr(FakeLibrary, "current_stream", 0)
    opt.step({"w": Producer(np.ones(3))})
    assert Producer.streams == (5, 1)


def test_an_interface_without_a_stream_leaves_it_to_dlpack(monkeypatch):
    """JAX's does not say when the numbers are there; DLPack waits for them."""

    class Array(Producer):
        @property
        def __cuda_array_interface__(self):
            return {**Fake(self.memory).__cuda_array_interface__, "version": 2, "data": (1, True)}

    monkeypatch.setattr(Producer, "streams", ())
    w = device_array(np.zeros(3))
    opt = fs.SGD({"w": w}, lr=1.0)
    grad = Array(np.ones(3))
    opt.step({"w": grad})
    assert Producer.streams == (1,)
    assert to_numpy(w).tolist() == [-1, -1, -1]
    with pytest.raises(ValueError, match=r"^gradient of 'w': expected a writeable array"):
        opt.step({"w": grad}, zero_grads=True)


def test_a_group_that_comes_after_a_step(pair):
    host, device, grads = pair()
    host.step(grads)
    device.step(on_device(grads))
    more = np.arange(4.0)
    host.add_group({"params": {"e": more.copy()}, "lr": 0.5})
    device.add_group({"params": {"e": device_array(more)}, "lr": 0.5})
    grads["e"] = np.ones(4)
    host.step(grads)
    device.step(on_device(grads))
    assert_same(host, device)


def test_the_first_parameter_may_be_empty():
    opt = fs.SGD({"e": FakeDLPack(np.zeros((0, 2)), device=3), "w": device_array(np.zeros(2))})
    opt.step({"w": device_array(np.ones(2))})
    assert to_numpy(opt.params["w"])[0] < 0
