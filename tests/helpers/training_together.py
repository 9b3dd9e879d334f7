"""Trainings that processes do together, and the same by one process alone.

Each of the functions in the second half runs in every process of a group (crew.py).
"""

import copy
import warnings

import pytest
import torch
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


def not_finite_in_one():
    """The message of each process where one has an infinite gradient, which all are told of."""
    whole, parallel = Model(), DistributedDataParallel(Model())
    optimizer = made(("AdamW", {"error_if_nonfinite": True}), parallel.parameters())
    train(parallel, whole, optimizer, range(1))
    before = values_of(parallel.module), state_of(optimizer)
    gradients = gradients_of(whole, 1, dist.get_rank())
    if dist.get_rank() == 1:
        gradients[-1][0, 1, 2] = torch.inf
    optimizer.zero_grad()
    parallel(gradients).backward()
    with pytest.raises(FloatingPointError) as caught:
        optimizer.step()
    assert_same((values_of(parallel.module), state_of(optimizer)), before)
    return str(caught.value)


def refused_in_one():
    """One process asks for what shards cannot do; the other goes on."""
    model = sharded(Model())
    options = {"skip_nonfinite": True} if dist.get_rank() == 0 else {}
    try:
        optimizer = made(("AdamW", options), model.parameters())
    except ValueError as error:
        return str(error)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    return "stepped"
