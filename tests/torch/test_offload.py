"""CPUOffload: as the optimizer that it offloads, on parameters that are anywhere."""

import copy
import inspect

import pytest

torch = pytest.importorskip("torch")
import fusedstep.torch as fst
from fusedstep.torch import CPUOffload

needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_card)]
CLASSES = [
    fst.SGD, fst.AdamW, fst.Adam, fst.NAdam, fst.ASGD, fst.Lion, fst.LAMB, torch.optim.AdamW
]  # fmt: skip
SHAPES = [(300, 7), (40,), (), (64, 64), (5, 3, 2)]


def parameters(dtype=torch.float32, device="cpu"):
    rng = torch.Generator().manual_seed(0)
    made = [torch.randn(shape, generator=rng).to(device, dtype) for shape in SHAPES]
    return [torch.nn.Parameter(one) for one in made]


def give_gradients(params, step, without=()):
    """Gradients by a backward pass, so that hooks run."""
    rng = torch.Generator().manual_seed(step)
    loss = 0.0
    for i, param in enumerate(params):
        grad = torch.randn(param.shape, generator=rng).to(param.device, param.dtype)
        if i not in without:
            loss = loss + (param * grad).sum()
    loss.backward()


def train(opt, params, steps, **options):
    for step in steps:
        opt.zero_grad()
        give_gradients(params, step, **options)
        opt.step()
    return params


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one.cpu(), other.cpu())


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("offload_gradients", [False, True])
@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_steps_are_those_of_the_optimizer(cls, offload_gradients, device):
    params, others = parameters(device=device), parameters()
    options = {"lr": 1e-2, "weight_decay": 0.1}
    opt = CPUOffload(
        params, cls, offload_gradients=offload_gradients, bucket_cap_mb=0.01, **options
    )
    train(opt, params, range(6))
    assert_same(params, train(cls(others, **options), others, range(6)))
    assert all((param.grad is None) == offload_gradients for param in params)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("cls", [fst.AdamW, torch.optim.AdamW], ids=["fusedstep", "torch"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_narrow_parameters_are_float32_ones_rounded_at_each_step(cls, dtype, device):
    params = parameters(dtype, device)
    masters = [torch.nn.Parameter(param.detach().float().cpu()) for param in params]
    opt, other = CPUOffload(params, cls, lr=1e-3), cls(masters, lr=1e-3)
    for step in range(8):
        train(opt, params, [step])
        for master, param in zip(masters, params, strict=True):
            master.grad = param.grad.float().cpu()
        other.step()
        assert_same(params, [master.detach().to(dtype) for master in masters])


def test_it_is_adamw_unless_told_otherwise():
    assert inspect.signature(CPUOffload).parameters["optimizer_class"].default is fst.AdamW


def test_parameters_without_gradient_do_not_take_part():
    params, others = parameters(), parameters()
    opt, other = CPUOffload(params, bucket_cap_mb=0.001), fst.AdamW(others)
    for without in [(0, 3), (1,), (), (0, 1, 2, 3)]:
        assert_same(
            train(opt, params, [1], without=without), train(other, others, [1], without=without)
        )


@pytest.mark.parametrize("options", [{"max_grad_norm": 0.5}, {"skip_nonfinite": True}], ids=str)
def test_what_depends_on_all_gradients_sees_all(options):
    params, others = parameters(), parameters()
    opt, other = CPUOffload(params, bucket_cap_mb=0.001, **options), fst.AdamW(others, **options)
    for step in range(4):
        for each in (params, others):
            for param in each:
                param.grad = None
            give_gradients(each, step)
            if step == 2:
                each[-1].grad[0] = float("inf")
        opt.step()
        other.step()
        assert opt.result == other.result or step == 2
        assert opt.result.applied == other.result.applied
    if "skip_nonfinite" in options:
        assert_same(params, others)


@pytest.mark.parametrize("offload_gradients", [False, True])
def test_gradients_of_several_backward_passes_are_added(offload_gradients):
    params, others = parameters(), parameters()
    opt, other = CPUOffload(params, offload_gradients=offload_gradients), fst.AdamW(others)
    for one, its in ((opt, params), (other, others)):
        give_gradients(its, 1)
        one.zero_grad()
        give_gradients(its, 2)
        give_gradients(its, 3)
        one.step()
    assert_same(params, others)


def test_groups_schedulers_and_later_groups():
    params, others = parameters(), parameters()

    def made(make, its):
        opt = make([{"params": its[:2], "lr": 0.1}, {"params": its[2:4]}])
        opt.add_param_group({"params": its[4:], "betas": (0.5, 0.9)})
        schedule = torch.optim.lr_scheduler.ExponentialLR(opt, 0.5)
        for step in range(4):
            train(opt, its, [step])
            schedule.step()
        opt.param_groups[1]["weight_decay"] = 0.3
        train(opt, its, [9])
        return opt

    opt, other = made(CPUOffload, params), made(fst.AdamW, others)
    assert_same(params, others)
    for group, own in zip(opt.param_groups, other.param_groups, strict=True):
        assert {**group, "params": None} == {**own, "params": None}
    with pytest.raises(ValueError, match="lr"):
        opt.add_param_group({"params": parameters(), "lr": -1.0})
    assert_same(train(opt, params, [10]), train(other, others, [10]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("cls", [fst.AdamW, fst.NAdam, torch.optim.AdamW], ids=str)
@pytest.mark.parametrize("first", ["model", "optimizer"])
def test_resumed_to_the_bit(cls, dtype, first, tmp_path):
    params = parameters(dtype)
    opt = CPUOffload(params, cls, lr=1e-3)
    train(opt, params, range(3))
    torch.save({"model": params, "optimizer": opt.state_dict()}, tmp_path / "saved")
    saved = torch.load(tmp_path / "saved", weights_only=True)
    others = [torch.nn.Parameter(torch.zeros_like(param)) for param in params]
    resumed = CPUOffload(others, cls, lr=0.5)

    def load_model():
        with torch.no_grad():
            for other, values in zip(others, saved["model"], strict=True):
                other.copy_(values)

    if first == "model":
        load_model()
    resumed.load_state_dict(copy.deepcopy(saved["optimizer"]))
    if first == "optimizer":
        load_model()
    assert_same(train(opt, params, range(3, 6)), train(resumed, others, range(3, 6)))


def test_states_are_those_of_the_optimizer():
    params, others = parameters(), parameters()
    opt, other = CPUOffload(params), fst.AdamW(others)
    train(opt, params, range(3))
    other.load_state_dict(opt.state_dict())
    for one, own in zip(params, others, strict=True):
        own.data.copy_(one)
        assert set(other.state[own]) == set(opt.state[one]) == {"step", "exp_avg", "exp_avg_sq"}
    assert_same(train(opt, params, [3]), train(other, others, [3]))
    opt.load_state_dict(other.state_dict())
    assert_same(train(opt, params, [4]), train(other, others, [4]))


def test_what_others_write_to_parameters_counts():
    params, others = parameters(), parameters()
    opt, other = CPUOffload(params), fst.AdamW(others)
    for step in range(3):
        train(opt, params, [step])
        train(other, others, [step])
        with torch.no_grad():
            for its in (params, others):
                its[0].clamp_(-0.5, 0.5)
    assert_same(params, others)


def test_hooks_run_and_closures_are_called():
    params = parameters()
    opt = CPUOffload(params)
    seen = []
    opt.register_step_pre_hook(lambda *_: seen.append("before"))
    opt.register_step_post_hook(lambda *_: seen.append("after"))
    opt.register_state_dict_post_hook(lambda _, saved: seen.append(len(saved["state"])))
    opt.register_load_state_dict_post_hook(lambda _: seen.append("loaded"))

    def closure():
        give_gradients(params, 0)
        return 5.0

    assert opt.step(closure) == 5.0
    opt.load_state_dict(opt.state_dict())
    assert seen == ["before", "after", len(SHAPES), "loaded"]


@pytest.mark.parametrize("device", DEVICES)
def test_grad_scaler(device):
    params, others = parameters(device=device), parameters()
    results = []
    for make, its in ((CPUOffload, params), (fst.AdamW, others)):
        opt = make(its)
        scaler = torch.amp.GradScaler(its[0].device.type, init_scale=1024.0)
        for step in range(4):
            opt.zero_grad()
            loss = sum((param * (step + 1)).sum() for param in its)
            if step == 1:
                loss = loss * float("inf")
            scaler.scale(loss).backward()
            scaler.step(opt)
            scaler.update()
        results.append(scaler.get_scale())
    assert results[0] == results[1]
    assert_same(params, others)


def test_what_cannot_be_done_is_refused():
    with pytest.raises(TypeError, match="'rate'"):
        CPUOffload(parameters(), rate=1.0)
    opt = CPUOffload(parameters())
    with pytest.raises(TypeError, match="cannot be copied or pickled"):
        copy.deepcopy(opt)
    table = torch.nn.Embedding(4, 3, sparse=True)
    opt = CPUOffload(table.parameters())
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(TypeError, match="expected a dense one"):
        opt.step()


@needs_card
def test_a_parameter_on_a_card_has_pinned_host_memory():
    params = parameters(torch.bfloat16, "cuda")
    opt = CPUOffload(params)
    train(opt, params, range(2))
    assert all(param.is_cuda for param in params)
    assert not any(opt.state[param]["exp_avg"].is_cuda for param in params)
    assert all(pair.master.is_pinned() and pair.buffer.is_pinned() for pair in opt._pairs)
