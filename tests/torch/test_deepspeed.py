"""DeepSpeedCPUAdam, against the class of this name in DeepSpeed, and in DeepSpeed."""

import copy
import functools
import inspect
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
import fusedstep.torch

pytestmark = pytest.mark.xdist_group("deepspeed")  # else another worker waits while it compiles
ours = fusedstep.torch.DeepSpeedCPUAdam
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


@pytest.fixture(scope="module")
def theirs():
    """DeepSpeed's class, which compiles its kernels at first use."""
    os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("DS_SKIP_CUDA_CHECK", "1")
    pytest.importorskip("deepspeed", reason="DeepSpeed is not installed")
    import cpuinfo
    from deepspeed.ops.adam import DeepSpeedCPUAdam

    with pytest.MonkeyPatch.context() as patch:  # each constructor asks, which takes seconds
        patch.setattr(cpuinfo, "get_cpu_info", functools.cache(cpuinfo.get_cpu_info))
        yield DeepSpeedCPUAdam


def parameter(size=1000, dtype=torch.float32, seed=0):
    values = torch.randn(size, generator=torch.Generator().manual_seed(seed))
    return torch.nn.Parameter(values.to(dtype))


def gradient_like(param, seed):
    return torch.randn(param.shape, generator=torch.Generator().manual_seed(seed)).to(param.dtype)


def train(opt, param, steps, start=0):
    for seed in range(start, start + steps):
        param.grad = gradient_like(param, seed)
        opt.step()
    return param


def close(one, other, dtype=torch.float32):
    assert one.dtype == other.dtype
    rtol = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}[dtype]
    torch.testing.assert_close(one, other, rtol=rtol, atol=max(rtol / 10, 1e-5))


OPTIONS = [
    {},
    {"adamw_mode": False, "weight_decay": 0.1},
    {"weight_decay": 0.1, "lr": 1e-2},
    {"bias_correction": False},
    {"betas": (0.5, 0.9), "eps": 1e-3},
]


def test_it_is_called_as_deepspeeds_is(theirs):
    expected = inspect.signature(theirs).parameters
    own = inspect.signature(ours).parameters
    assert {name: own[name].default for name in expected} == {
        name: one.default for name, one in expected.items()
    }
    assert [*own][: len(expected)] == [*expected]
    for name in ("step", "step_subgroup", "rollback_subgroup"):
        assert [*inspect.signature(getattr(ours, name)).parameters] == [
            *inspect.signature(getattr(theirs, name)).parameters
        ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_steps_are_deepspeeds(theirs, options, dtype):
    one, other = parameter(dtype=dtype), parameter(dtype=dtype)
    a, b = ours([one], **options), theirs([other], **options)
    close(train(a, one, 8).detach(), train(b, other, 8).detach(), dtype)
    assert type(a.state[one]["step"]) is int
    assert a.state[one]["step"] == b.state[other]["step"] == 8
    assert set(a.state[one]) == set(b.state[other])
    for name in ("exp_avg", "exp_avg_sq"):
        close(a.state[one][name], b.state[other][name], dtype)


def test_options_of_groups_are_read_at_each_step(theirs):
    one, other = parameter(), parameter()
    a, b = ours([one]), theirs([other])
    for turn, changes in enumerate([{"lr": 0.01}, {"bias_correction": False}, {"eps": 1e-2}]):
        a.param_groups[0].update(changes)
        b.param_groups[0].update(changes)
        train(a, one, 3, 10 * turn)
        train(b, other, 3, 10 * turn)
        close(one.detach(), other.detach())
        assert a.state[one]["step"] == 3 * (turn + 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_states_have_the_dtype_of_parameters_on_demand(theirs, dtype):
    one, other = parameter(dtype=dtype), parameter(dtype=dtype)
    a = ours([one], fp32_optimizer_states=False)
    b = theirs([other], fp32_optimizer_states=False)
    close(train(a, one, 5).detach(), train(b, other, 5).detach(), dtype)
    assert a.state[one]["exp_avg"].dtype == b.state[other]["exp_avg"].dtype == dtype


@pytest.mark.parametrize("back", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_each_loads_what_the_other_has_saved(theirs, back, dtype):
    first, second = (ours, theirs) if back else (theirs, ours)
    param = parameter(dtype=dtype)
    opt = first([param], lr=1e-2)
    train(opt, param, 3)
    other = torch.nn.Parameter(param.detach().clone())
    resumed = second([other], lr=1e-2)
    resumed.load_state_dict(copy.deepcopy(opt.state_dict()))
    close(train(opt, param, 3, 3).detach(), train(resumed, other, 3, 3).detach(), dtype)
    assert resumed.state[other]["step"] == 6


def test_steps_are_those_of_adamw_to_the_bit():
    one, other = parameter(), parameter()
    train(ours([one], weight_decay=0.1), one, 5)
    train(fusedstep.torch.AdamW([other], weight_decay=0.1), other, 5)
    assert torch.equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_subgroup_steps_as_a_parameter(dtype):
    one, other = parameter(dtype=dtype), parameter(dtype=dtype)
    a, b = ours([one]), ours([other])
    for seed in range(4):
        one.grad = gradient_like(one, seed)
        a.step_subgroup("any")
    train(b, other, 4)
    assert torch.equal(one, other)
    assert a.state["any"]["step"] == 4
    assert torch.equal(a.state["any"]["exp_avg_sq"], b.state[other]["exp_avg_sq"])


@pytest.mark.parametrize("gradient", ["finite", "overflowed"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rollback_restores_the_bits(dtype, gradient):
    param = parameter(dtype=dtype)
    opt = ours([param], rollback_steps=2, weight_decay=0.1)
    saved = []
    for seed in range(3):
        saved.append((param.detach().clone(), copy.deepcopy(opt.state.get(0))))
        param.grad = gradient_like(param, seed)
        if gradient == "overflowed":
            param.grad[5] = float("inf") if seed == 1 else float("nan")
        opt.step_subgroup(0)
    for values, entry in (saved[2], saved[1]):
        opt.rollback_subgroup(0)
        assert torch.equal(param, values) or gradient == "overflowed"
        assert param.detach().view(torch.uint8).equal(values.view(torch.uint8))
        assert opt.state[0]["step"] == entry["step"]
        for name in ("exp_avg", "exp_avg_sq"):
            assert opt.state[0][name].view(torch.uint8).equal(entry[name].view(torch.uint8))
    with pytest.raises(RuntimeError, match=r"sub_group_id 0: expected one of its latest 2 steps"):
        opt.rollback_subgroup(0)


def test_a_subgroup_goes_on_after_a_rollback():
    param, other = parameter(), parameter()
    opt, steady = ours([param]), ours([other])
    for seed in range(4):
        param.grad = gradient_like(param, 100 + seed)
        opt.step_subgroup(3)
        opt.rollback_subgroup(3)
        param.grad = gradient_like(param, seed)
        opt.step_subgroup(3)
    train(steady, other, 4)
    assert torch.equal(param, other)


def test_what_cannot_be_rolled_back_is_refused():
    param = parameter()
    opt = ours([param], rollback_steps=0)
    param.grad = gradient_like(param, 0)
    with pytest.raises(RuntimeError, match="as it has not been initialized"):
        opt.rollback_subgroup(7)
    opt.step_subgroup(7)
    with pytest.raises(RuntimeError, match=r"rollback_steps"):
        opt.rollback_subgroup(7)
    opt = ours([param])
    opt.step_subgroup(7)
    opt.rollback_subgroup(7)
    with pytest.raises(RuntimeError, match="Cannot rollback sub_group_id 7: step count is 0"):
        opt.rollback_subgroup(7)


def test_what_cannot_be_done_is_refused():
    half = parameter(dtype=torch.float16)
    half.grad = gradient_like(half, 0)
    with pytest.raises(
        TypeError, match=r"fp32_optimizer_states: expected True.* got False and float16"
    ):
        ours([half], fp32_optimizer_states=False).step()
    pair = [parameter(), parameter()]
    for param in pair:
        param.grad = gradient_like(param, 0)
    with pytest.raises(ValueError, match="expected one parameter with a gradient"):
        ours(pair).step_subgroup(0)
    elsewhere = torch.nn.Parameter(torch.empty(3, device="meta"))
    elsewhere.grad = torch.empty(3, device="meta")
    with pytest.raises(AssertionError, match=r"params\[0\]: expected a tensor on the CPU.* meta"):
        ours([elsewhere]).step()


@pytest.mark.exhaustive
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_zero_offload_trains_as_with_deepspeeds_own(theirs, dtype, tmp_path):
    def trained(cls):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = str(free.getsockname()[1])
        script = Path(__file__).with_name("zero_offload.py")
        target = f"{cls.__module__}.{cls.__name__}"
        done = subprocess.run(
            [sys.executable, script, target, dtype, port, tmp_path / target],
            env={**os.environ, "LOCAL_RANK": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(next(line for line in done.stdout.splitlines() if line[:1] == "{"))

    own, expected = trained(ours), trained(theirs)
    assert own["optimizer"]
    assert not expected["optimizer"]
    assert own["losses"] == pytest.approx(
        expected["losses"], rel=1e-2 if dtype == "bfloat16" else 1e-4
    )
    assert own["losses"][-1] < own["losses"][0] / 2
    assert own["resumed"] == own["onwards"]
