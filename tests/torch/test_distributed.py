"""Training in two and three processes is training in one, to the bit, where the gradient is the same."""

import copy
import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("torch is built without torch.distributed", allow_module_level=True)

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.default_planner import DefaultLoadPlanner
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    get_state_dict,
    set_optimizer_state_dict,
    set_state_dict,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

import fusedstep.torch
from crew import LIMIT, Crew

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # torch scripts something there
    from torch.distributed.optim import ZeroRedundancyOptimizer

RULES = [name for name in fusedstep.torch.__all__ if name in fusedstep.__all__]
RULES.remove("Optimizer")
WHOLE = ("LAMB", "LARS")  # which need whole parameters
BFLOAT16 = ("AdamW", {"state_dtype": "bfloat16"})  # is rounded by an element's place in its shard
CASES = [(name, {}) for name in RULES] + [
    ("SGD", {"momentum": 0.9, "nesterov": True}),
    ("AdamW", {"amsgrad": True, "ema_decay": 0.9}),
    ("Adam", {"max_grad_value": 2.0, "maximize": True}),
    BFLOAT16,
]
BY_PARTS = [case for case in CASES if case[0] not in WHOLE and case != BFLOAT16]
NARROW = [("AdamW", {"master": "split"}), ("Lion", {"rounding": "kahan"})]
STEPS = 3


class Model(torch.nn.Module):
    """A model whose gradient is what it is given."""

    def __init__(self, dtype=torch.float32, shapes=((5, 7), (7,), (1,), (2, 3, 4))):
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        made = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
        self.all = torch.nn.ParameterList(made)

    def forward(self, gradients):
        return sum((p * g).sum() for p, g in zip(self.all, gradients, strict=True))


def gradients_of(model, step, rank):
    """Integers whose mean over two or three processes is exact."""
    generator = torch.Generator().manual_seed(100 * step + rank)
    return [
        torch.randint(-9, 10, p.shape, generator=generator).to(p.dtype) * 6
        for p in model.parameters()
    ]


def made(case, parameters, library=fusedstep.torch):
    name, options = case
    return getattr(library, name)(parameters, lr=1e-2, **options)


def train_alone(case, count, steps=range(STEPS), model=None, optimizer=None, **kw):
    """Train one model with the gradients that `count` processes have together."""
    model = model or Model(**kw)
    optimizer = optimizer or made(case, model.parameters())
    for step in steps:
        shares = [gradients_of(model, step, rank) for rank in range(count)]
        for p, *gradients in zip(model.parameters(), *shares, strict=True):
            p.grad = sum(gradients) / count
        optimizer.step()
    return model, optimizer


def train(model, whole, optimizer, steps=range(STEPS)):
    """The same in one of several processes."""
    for step in steps:
        optimizer.zero_grad()
        model(gradients_of(whole, step, dist.get_rank())).backward()
        optimizer.step()


def values_of(model):
    return [full(p).detach().clone() for p in model.parameters()]


def full(tensor):
    if isinstance(tensor, DTensor):  # gloo has no 16-bit integers
        gathered = tensor.to(torch.int32) if tensor.dtype == torch.int16 else tensor
        return gathered.full_tensor().to(tensor.dtype)
    return tensor


def state_of(optimizer):
    """The state in the order of the parameters, whole and copied."""
    return [
        {name: full(value).clone() for name, value in optimizer.state[p].items()}
        for group in optimizer.param_groups
        for p in group["params"]
    ]


def sharded(model):
    return fully_shard(model, mesh=init_device_mesh("cpu", (dist.get_world_size(),)))


def assert_same(found, expected, *where):
    if isinstance(expected, torch.Tensor):
        assert found.dtype == expected.dtype, where
        assert torch.equal(found, expected), where
        return
    keys = expected if isinstance(expected, dict) else range(len(expected))
    assert len(found) == len(expected), where
    for key in keys:
        assert_same(found[key], expected[key], *where, key)


@pytest.fixture(scope="module")
def crew(tmp_path_factory):
    crew = Crew(__file__, tmp_path_factory.mktemp("crew"))
    yield crew
    crew.end()


# What the processes do.


def ddp(cases):
    result = []
    for case in cases:
        model = Model()
        parallel = DistributedDataParallel(model, gradient_as_bucket_view=True)
        optimizer = made(case, parallel.parameters())
        train(parallel, model, optimizer)
        result.append((values_of(model), state_of(optimizer)))
    return result


def zero(cases, options):
    result = []
    for name, more in cases:
        model = Model()
        parallel = DistributedDataParallel(model)
        rule = getattr(fusedstep.torch, name)
        optimizer = ZeroRedundancyOptimizer(model.parameters(), rule, lr=1e-2, **options, **more)
        train(parallel, model, optimizer)
        optimizer.consolidate_state_dict(to=0)
        saved = [optimizer.state_dict() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(saved)
        again = ZeroRedundancyOptimizer(model.parameters(), rule, lr=1.0, **options, **more)
        again.load_state_dict(copy.deepcopy(saved[0]))
        train(parallel, model, again, range(STEPS, STEPS + 2))
        result.append((values_of(model), saved[0]))
    return result


def zero_of_few():
    model = Model(shapes=((3, 2), (4,)))
    optimizer = ZeroRedundancyOptimizer(model.parameters(), fusedstep.torch.AdamW, lr=1e-2)
    train(DistributedDataParallel(model), model, optimizer)
    return values_of(model)


def fsdp(cases, dtype):
    result = []
    for case in cases:
        whole = Model(dtype)
        model = sharded(Model(dtype))
        optimizer = made(case, model.parameters())
        train(model, whole, optimizer)
        state = state_of(optimizer)
        parts = {
            name: isinstance(value, DTensor)
            for name, value in optimizer.state[next(model.parameters())].items()
        }
        assert not parts.pop("step")
        assert all(parts.values())
        result.append((values_of(model), state))
    return result


def fsdp_clipped():
    whole, model = Model(), sharded(Model())
    optimizer = made(("SGD", {}), model.parameters())
    model(gradients_of(whole, 0, dist.get_rank())).backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return full(norm), values_of(model)


def fsdp_scaled():
    """A step with an infinite gradient in one process, and one without."""
    whole, model = Model(), sharded(Model())
    optimizer = made(("SGD", {}), model.parameters())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    result = []
    for step in range(2):
        gradients = gradients_of(whole, 0, dist.get_rank())
        if step == 0 and dist.get_rank() == 1:
            gradients[0][-1] = torch.inf
        optimizer.zero_grad()
        scaler.scale(model(gradients)).backward()
        scaler.step(optimizer)
        scaler.update()
        result.append((values_of(model), optimizer.result.applied, scaler.get_scale()))
    return result


def refused(name, options, later):
    """The message with which an optimizer of shards is refused, at once or at a step."""
    whole, model = Model(), sharded(Model())
    before = values_of(model)
    if not later:
        with pytest.raises(ValueError, match="each process has a shard") as caught:
            made((name, options), model.parameters())
        return str(caught.value)
    optimizer = made((name, {}), model.parameters())
    model(gradients_of(whole, 0, 0)).backward()
    if later == "stepped":
        optimizer.step()
        before = values_of(model)
    optimizer.param_groups[0].update(options)
    with pytest.raises(ValueError, match="each process has a shard") as caught:
        optimizer.step()
    assert_same(values_of(model), before)
    return str(caught.value)


def by_columns():
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    tensor = torch.nn.Parameter(distribute_tensor(torch.ones(4, 6), mesh, [Shard(1)]))
    with pytest.raises(ValueError, match=r"RowwiseAdagrad: expected whole rows, .*first axis"):
        fusedstep.torch.RowwiseAdagrad([tensor])


def replicated():
    """With a mesh whose shards are whole, all is as in one process."""
    whole = Model()
    model = fully_shard(
        Model(), mesh=init_device_mesh("cpu", (dist.get_world_size(), 1), mesh_dim_names=("r", "s"))
    )
    options = {"max_grad_norm": 1.0, "skip_nonfinite": True, "state_dtype": "8bit"}
    optimizer = made(("AdamW", {**options, "min_8bit_size": 0}), model.parameters())
    train(model, whole, optimizer)
    return values_of(model)


def placed_otherwise():
    """Gradients that are not placed as their parameters are."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    start, gradient = torch.arange(10.0).reshape(5, 2), torch.ones(5, 2)
    result = []
    for placement, other in ((Replicate(), Partial()), (Shard(0), Replicate())):
        tensor = torch.nn.Parameter(distribute_tensor(start.clone(), mesh, [placement]))
        tensor.grad = DTensor.from_local(gradient, mesh, [other])
        made(("SGD", {}), [tensor]).step()
        result.append(full(tensor).detach())
    return result


def save(cases, path, is_torch=False):
    library = torch.optim if is_torch else fusedstep.torch
    whole, state = Model(), {}
    for i, case in enumerate(cases):
        model = sharded(Model())
        optimizer = made(case, model.parameters(), library)
        train(model, whole, optimizer)
        state[str(i)] = dict(zip(("model", "optim"), get_state_dict(model, optimizer), strict=True))
    dcp.save(state, checkpoint_id=path)


def resume(cases, path, is_partial=False):
    """Go on from what other processes saved; one process does not shard."""
    whole, state, pairs = Model(), {}, []
    for i, case in enumerate(cases):
        model = Model()
        if dist.get_world_size() > 1:
            model = sharded(model)
        optimizer = made(case, model.parameters())
        optimizer.param_groups[0]["lr"] = 1.0
        pairs.append((model, optimizer))
        state[str(i)] = dict(zip(("model", "optim"), get_state_dict(model, optimizer), strict=True))
    dcp.load(state, checkpoint_id=path, planner=DefaultLoadPlanner(allow_partial_load=is_partial))
    result = []
    for i, (model, optimizer) in enumerate(pairs):
        own = state[str(i)]
        set_state_dict(
            model, optimizer, model_state_dict=own["model"], optim_state_dict=own["optim"]
        )
        train(model, whole, optimizer, range(STEPS, STEPS + 2))
        result.append((values_of(model), state_of(optimizer)))
    return result


def start_from_full(cases, saved):
    """Go on from a whole state, which the first process alone has."""
    options = StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    whole, result = Model(), []
    for case, (values, state) in zip(cases, saved, strict=True):
        model = Model()
        for p, value in zip(model.parameters(), values, strict=True):
            p.data.copy_(value)
        sharded(model)
        optimizer = made(case, model.parameters())
        set_optimizer_state_dict(
            model, optimizer, state if dist.get_rank() == 0 else {}, options=options
        )
        train(model, whole, optimizer, range(STEPS, STEPS + 2))
        result.append((values_of(model), state_of(optimizer)))
    return result


def fresh(cases):
    """Whether state that is asked for before the first step leaves all finite and in place."""
    whole, result = Model(), []
    for case in cases:
        model = sharded(Model())
        optimizer = made(case, model.parameters())
        get_optimizer_state_dict(model, optimizer)
        untouched = all(map(torch.equal, values_of(model), values_of(whole)))
        train(model, whole, optimizer)
        result.append((untouched, all(v.isfinite().all() for v in values_of(model))))
    return result


# And that it is as it should be.

both = pytest.mark.parametrize("count", [2, 3])


@both
def test_ddp(crew, count):
    results = crew(count, ddp, CASES)
    for i, case in enumerate(CASES):
        model, optimizer = train_alone(case, count)
        for result in results:
            assert_same(result[i], (values_of(model), state_of(optimizer)), case)


@pytest.mark.parametrize("options", [{}, {"parameters_as_bucket_view": True}], ids=str)
@both
def test_zero_redundancy_optimizer(crew, count, options):
    results = crew(count, zero, CASES, options)
    for i, case in enumerate(CASES):
        model, optimizer = train_alone(case, count)
        saved = optimizer.state_dict()
        other = made(case, model.parameters())
        other.load_state_dict(copy.deepcopy(results[0][i][1]))
        assert_same(state_of(other), state_of(optimizer))
        assert_same(results[0][i][1]["state"], saved["state"])
        train_alone(case, count, range(STEPS, STEPS + 2), model, optimizer)
        for result in results:
            assert_same(result[i][0], values_of(model))


def test_zero_redundancy_optimizer_with_fewer_parameters_than_processes(crew):
    model, _ = train_alone(("AdamW", {}), 3, shapes=((3, 2), (4,)))
    for values in crew(3, zero_of_few):
        assert_same(values, values_of(model))


@pytest.mark.parametrize(
    ("cases", "dtype"), [(BY_PARTS, torch.float32), (NARROW, torch.bfloat16)], ids=["all", "narrow"]
)
@both
def test_fully_shard(crew, count, cases, dtype):
    """Some processes have no element of the smallest parameters."""
    results = crew(count, fsdp, cases, dtype)
    for i, case in enumerate(cases):
        model, optimizer = train_alone(case, count, dtype=dtype)
        for result in results:
            assert_same(result[i], (values_of(model), state_of(optimizer)), case)


def test_bfloat16_state_of_shards(crew):
    model, _ = train_alone(BFLOAT16, 2)
    for ((values, state),) in crew(2, fsdp, [BFLOAT16], torch.float32):
        assert all(own["exp_avg"].dtype == torch.bfloat16 for own in state)
        for found, expected in zip(values, values_of(model), strict=True):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@both
def test_clipping_takes_the_norm_over_all_processes(crew, count):
    model = Model()
    for p, *gradients in zip(
        model.parameters(), *(gradients_of(model, 0, rank) for rank in range(count)), strict=True
    ):
        p.grad = sum(gradients) / count
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    made(("SGD", {}), model.parameters()).step()
    for found, values in crew(count, fsdp_clipped):
        torch.testing.assert_close(found, norm)
        for one, expected in zip(values, model.parameters(), strict=True):
            torch.testing.assert_close(one, expected.detach())


def test_grad_scaler_skips_in_all_processes(crew):
    model, _ = train_alone(("SGD", {}), 2, range(1))
    for (skipped, was_applied, scale), (values, is_applied, _) in crew(2, fsdp_scaled):
        assert_same(skipped, values_of(Model()))
        assert (was_applied, scale, is_applied) == (False, 2.0, True)
        assert_same(values, values_of(model))


@pytest.mark.parametrize("later", ["", "unstepped", "stepped"])
@pytest.mark.parametrize(
    ("name", "options", "instead"),
    [
        ("LAMB", {}, "replicate"),
        ("LARS", {}, "replicate"),
        ("AdamW", {"skip_nonfinite": True}, "clip_grad_norm_ returns is finite"),
        ("AdamW", {"error_if_nonfinite": True}, "clip_grad_norm_ returns is finite"),
        ("AdamW", {"max_grad_norm": 1.0}, "call torch.nn.utils.clip_grad_norm_"),
        ("AdamW", {"state_dtype": "8bit"}, "'float32' or 'bfloat16'"),
    ],
)
def test_what_needs_whole_parameters_is_refused(crew, name, options, instead, later):
    if later and not {"max_grad_norm", "state_dtype"} & {*options}:
        return  # not an option of groups
    for message in crew(2, refused, name, options, later):
        assert instead in message
        assert "'all.0'" in message or "param_groups[0]['params'][0]" in message


def test_row_wise_rules_need_whole_rows(crew):
    crew(2, by_columns)


def test_shards_that_are_whole_may_do_all(crew):
    options = {"max_grad_norm": 1.0, "skip_nonfinite": True, "state_dtype": "8bit"}
    model, _ = train_alone(("AdamW", {**options, "min_8bit_size": 0}), 2)
    for values in crew(2, replicated):
        assert_same(values, values_of(model))


@both
def test_gradients_placed_otherwise_than_their_parameters(crew, count):
    start = torch.arange(10.0).reshape(5, 2)
    for summed, sliced in crew(count, placed_otherwise):
        rate = torch.tensor(1e-2)
        assert_same(summed, start - rate * count)
        assert_same(sliced, start - rate)


def test_checkpoints_are_resumed_by_another_number_of_processes(crew, tmp_path):
    """The gradient is always that of the number that goes on."""
    crew(2, save, BY_PARTS, str(tmp_path))
    for count in (1, 2, 3):
        results = crew(count, resume, BY_PARTS, str(tmp_path))
        for i, case in enumerate(BY_PARTS):
            model, optimizer = train_alone(case, 2)
            train_alone(case, count, range(STEPS, STEPS + 2), model, optimizer)
            for result in results:
                assert_same(result[i], (values_of(model), state_of(optimizer)), case)


def test_checkpoints_of_torch_are_resumed(crew, tmp_path):
    cases = [
        ("AdamW", {}),
        ("SGD", {"momentum": 0.9}),
        ("NAdam", {}),
        ("Adagrad", {}),
        ("ASGD", {}),
    ]
    crew(2, save, cases, str(tmp_path), True)
    results = crew(3, resume, cases, str(tmp_path), True)
    for i, case in enumerate(cases):
        model, optimizer = train_alone(case, 2)
        train_alone(case, 3, range(STEPS, STEPS + 2), model, optimizer)
        for values, _ in (result[i] for result in results):
            for found, expected in zip(values, values_of(model), strict=True):
                torch.testing.assert_close(found, expected, msg=case[0])


def test_state_of_one_process_is_distributed(crew):
    saved, expected = [], []
    cases = [case for case in BY_PARTS if case != ("SGD", {})]  # has no state to distribute
    for case in cases:
        model, optimizer = train_alone(case, 1)
        saved.append((values_of(model), copy.deepcopy(get_optimizer_state_dict(model, optimizer))))
        train_alone(case, 3, range(STEPS, STEPS + 2), model, optimizer)
        expected.append((values_of(model), state_of(optimizer)))
    for result in crew(3, start_from_full, cases, saved):
        assert_same(result, expected)


def test_state_before_the_first_step(crew):
    for result in crew(2, fresh, BY_PARTS):
        assert result == [(True, True)] * len(BY_PARTS)


def test_the_example_goes_on_in_another_number_of_processes(tmp_path):
    script = Path(__file__).parents[2] / "examples" / "torch_fsdp2.py"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    lines = []
    for count, steps in ((2, 20), (3, 40)):
        ran = subprocess.run(
            [*torchrun, f"--nproc-per-node={count}", str(script), str(tmp_path), str(steps)],
            check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        assert ran.returncode == 0, ran.stderr
        lines += ran.stdout.splitlines()
    (first, before), (last, after) = (line.split(": loss ") for line in lines)
    assert (first, last) == ("step 20", "step 40")
    assert float(after) < float(before)
