"""State, hooks, copies: what torch's users do to an optimizer between steps."""

import copy
import pickle

import pytest

torch = pytest.importorskip("torch")

from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import fusedstep.torch as ft


def made(cls=None, dtype=torch.float32, **options):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape).to(dtype)) for shape in ((4, 3), (5,))]
    return params, (cls or ft.AdamW)(params, **options)


def step(params, opt, seed=0):
    torch.manual_seed(seed)
    for param in params:
        param.grad = torch.randn(param.shape).to(param.dtype)
    return opt.step()


def same(params, others):
    return all(torch.equal(a, b) for a, b in zip(params, others, strict=True))


def test_state_is_made_at_the_first_gradient_as_tensors_that_steps_update():
    params, opt = made()
    assert len(opt.state) == 0
    params[0].grad = torch.ones_like(params[0])
    opt.step()
    assert list(opt.state) == [params[0]]
    own = opt.state[params[0]]
    assert list(own) == ["step", "exp_avg", "exp_avg_sq"]
    assert own["step"].dtype == torch.float32
    assert own["step"] == 1
    average = own["exp_avg"]
    step(params, opt)
    assert opt.state[params[0]]["exp_avg"] is average  # where it was, with other numbers
    assert set(opt.state) == set(params)


def test_what_is_written_into_the_state_is_used():
    params, opt = made()
    others, theirs = made(torch.optim.AdamW)
    for own, o in ((params, opt), (others, theirs)):
        step(own, o)
        o.state[own[0]]["exp_avg"].fill_(0.5)
        o.state[own[0]]["exp_avg_sq"] = torch.full_like(own[0], 0.25)  # another tensor
        o.state[own[1]]["step"].fill_(100)
        step(own, o, 1)
        step(own, o, 2)
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a, b)


def test_state_may_be_cleared():
    params, opt = made()
    others, theirs = made(torch.optim.AdamW)
    for own, o in ((params, opt), (others, theirs)):
        step(own, o)
        o.state.clear()
        step(own, o, 1)
    for a, b in zip(params, others, strict=True):
        torch.testing.assert_close(a, b)


def test_deepcopy_and_pickle_go_on_with_the_same_bits():
    for copied in (copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))):
        params, opt = made(max_grad_norm=0.5, skip_nonfinite=True)
        step(params, opt)
        others, other = copied((params, opt))
        step(params, opt, 1)
        step(others, other, 1)
        assert same(params, others)
        params[0].grad.fill_(float("nan"))
        others[0].grad.fill_(float("nan"))
        assert opt.step() is None
        assert other.step() is None
        assert not other.result.applied
        assert same(params, others)


def test_hooks():
    params, opt = made()
    seen = []
    handles = [
        opt.register_step_pre_hook(lambda *_: seen.append("before")),
        opt.register_step_post_hook(lambda *_: seen.append("after")),
        register_optimizer_step_pre_hook(lambda *_: seen.append("global before")),
        register_optimizer_step_post_hook(lambda *_: seen.append("global after")),
        opt.register_state_dict_pre_hook(lambda *_: seen.append("saving")),
        opt.register_state_dict_post_hook(lambda *_: seen.append("saved")),
        opt.register_load_state_dict_pre_hook(lambda *_: seen.append("loading")),
        opt.register_load_state_dict_post_hook(lambda *_: seen.append("loaded")),
    ]
    step(params, opt)
    opt.load_state_dict(opt.state_dict())
    for handle in handles:
        handle.remove()
    assert seen == [
        "global before",
        "before",
        "after",
        "global after",
        "saving",
        "saved",
        "loading",
        "loaded",
    ]


def test_a_hook_may_change_what_is_loaded():
    params, opt = made()
    step(params, opt)

    def reset(_, state_dict):
        for own in state_dict["state"].values():
            assert isinstance(own["exp_avg"], torch.Tensor)
            own["exp_avg"] = torch.zeros_like(own["exp_avg"])
        return state_dict

    opt.register_load_state_dict_pre_hook(reset)
    opt.load_state_dict(opt.state_dict())
    assert opt.state[params[0]]["exp_avg"].count_nonzero() == 0


def test_closure_and_zero_grad():
    params, opt = made()
    calls = []

    def closure():
        assert torch.is_grad_enabled()
        opt.zero_grad()
        loss = sum((p**2).sum() for p in params)
        loss.backward()
        calls.append(loss.item())
        return loss

    with torch.no_grad():
        first = opt.step(closure)
    assert first.item() == calls[0]
    assert opt.step(closure) < first
    opt.zero_grad()
    assert all(p.grad is None for p in params)
    opt.step()  # without gradients nothing happens, as in torch


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moments_of_narrow_parameters_are_float32_and_stay_it(dtype):
    params, opt = made(dtype=dtype)
    step(params, opt)
    assert opt.state[params[0]]["exp_avg"].dtype == torch.float32
    others, other = made(dtype=dtype)
    for param, source in zip(others, params, strict=True):
        param.data.copy_(source)
    other.load_state_dict(copy.deepcopy(opt.state_dict()))
    assert other.state[others[0]]["exp_avg"].dtype == torch.float32
    step(params, opt, 1)
    step(others, other, 1)
    assert same(params, others)


@pytest.mark.parametrize(
    "options",
    [
        {"state_dtype": "bfloat16"},
        {"state_dtype": "8bit", "min_8bit_size": 0},
        {"rounding": "stochastic", "seed": 7},
        {"rounding": "kahan"},
        {"master": "split", "master_bits": 24},
        {"ema_decay": 0.9},
    ],
    ids=str,
)
def test_options_of_ours_are_saved_and_resumed(options):
    dtype = torch.bfloat16 if {"rounding", "master"} & options.keys() else torch.float32
    params, opt = made(dtype=dtype, **options)
    for i in range(3):
        step(params, opt, i)
    saved = copy.deepcopy(opt.state_dict())
    others, other = made(dtype=dtype, **options)
    for param, source in zip(others, params, strict=True):
        param.data.copy_(source)
    other.load_state_dict(saved)
    for i in range(3):
        step(params, opt, i)
        step(others, other, i)
    assert same(params, others)
    for a, b in zip(params, others, strict=True):
        own, twin = opt.state[a], other.state[b]
        assert own.keys() == twin.keys()
        assert all(torch.equal(own[key], twin[key]) for key in own)


def test_a_state_that_cannot_hold_what_is_loaded_is_refused():
    params, opt = made()
    step(params, opt)
    _, narrow = made(state_dtype="bfloat16")
    saved = opt.state_dict()
    saved["param_groups"][0]["state_dtype"] = "bfloat16"
    narrow.load_state_dict(saved)
    with pytest.raises(ValueError, match=r"exp_avg.*expected torch\.bfloat16, got torch\.float32"):
        step(narrow.param_groups[0]["params"], narrow)


def test_result():
    params, opt = made(max_grad_norm=1e9)
    step(params, opt)
    norm = torch.nn.utils.get_total_norm([p.grad for p in params])
    assert opt.result.applied
    assert opt.result.grad_norm == pytest.approx(norm.item())


def test_autograd_knows_what_a_step_wrote():
    params, opt = made()
    step(params, opt)
    loss = (params[0] ** 2).sum()
    opt.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_averaged_models():
    model = torch.nn.Linear(3, 2)
    opt = ft.AdamW(model.parameters())
    averaged = torch.optim.swa_utils.AveragedModel(model)
    for _ in range(3):
        opt.zero_grad()
        model(torch.ones(4, 3)).sum().backward()
        opt.step()
        averaged.update_parameters(model)
    assert averaged.n_averaged == 3


def test_schedule_free_evaluates_at_its_average():
    params, opt = made(ft.ScheduleFreeAdamW)
    for i in range(5):
        step(params, opt, i)
    training = copy.deepcopy(params)
    opt.eval()
    assert not same(params, training)
    opt.eval()
    opt.train()
    assert same(params, training)
    step(params, opt, 9)
