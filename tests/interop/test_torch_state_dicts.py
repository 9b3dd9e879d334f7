"""State dicts of torch.optim continued by the optimizers of the core, and the reverse."""

import copy
import io

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import fusedstep as fs
import fusedstep.torch as ft
from emulated_cuda import on_device
from torch_runs import (
    SHAPES,
    Ours,
    Theirs,
    assert_close,
    assert_same_run,
    bits,
    give_parameters,
    saved_bits,
    steps,
)

OPTIONS = {
    "Adam": [{}, {"amsgrad": True, "weight_decay": 0.1}],
    "AdamW": [{}, {"amsgrad": True, "maximize": True, "betas": (0.5, 0.9)}],
    "SGD": [
        {},
        {"momentum": 0.9, "dampening": 0.5, "lr": 0.1},
        {"momentum": 0.9, "nesterov": True},
    ],
    "RMSprop": [{}, {"momentum": 0.9, "centered": True}],
    "Adagrad": [{}, {"lr_decay": 0.1, "initial_accumulator_value": 0.5}],
    "NAdam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "RAdam": [{}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "Adamax": [{"weight_decay": 0.1}],
    "Adadelta": [{}],
    "ASGD": [{"t0": 3, "lambd": 0.1}],
    "Rprop": [{}],
}
CASES = [(name, options) for name, every in OPTIONS.items() for options in every]
each_case = pytest.mark.parametrize(("name", "options"), CASES)
COMPUTED = {"mu_product", "eta", "mu"}  # which torch keeps and the core computes


TOLERANCE = {np.float32: 1e-6, np.float64: 4e-15}
IN_FLOAT32 = {"NAdam", "ASGD"}  # have a number of float32 in their state, whatever the parameters


@each_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_run_of_torch_is_continued_here_and_given_back(name, options, dtype):
    theirs, ours = Theirs(name, dtype, **options), Ours(name, dtype, **options)
    steps(range(4), theirs)
    give_parameters(theirs, ours)
    saved = theirs.opt.state_dict()
    ft.from_torch_state_dict(ours.opt, saved)
    back = ft.to_torch_state_dict(ours.opt)
    for number, own in saved["state"].items():
        for key in own.keys() - COMPUTED:
            assert bits(own[key]) == bits(back["state"][number][key]), key
        for key in own.keys() & COMPUTED:
            torch.testing.assert_close(own[key], back["state"][number][key], rtol=1e-5, atol=0)
    for group, twin in zip(saved["param_groups"], back["param_groups"], strict=True):
        assert group == {key: twin[key] for key in group}
    steps(range(4, 9), theirs, ours)
    assert_close(ours, theirs, TOLERANCE[np.float32 if name in IN_FLOAT32 else dtype])


@each_case
def test_a_run_here_is_continued_in_torch_and_taken_back(name, options):
    ours, theirs, straight = Ours(name, **options), Theirs(name, **options), Ours(name, **options)
    steps(range(4), ours, straight)
    file = io.BytesIO()
    torch.save(ft.to_torch_state_dict(ours.opt), file)
    file.seek(0)
    theirs.opt.load_state_dict(torch.load(file))  # weights_only
    resumed = Ours(name, **options)
    give_parameters(ours, theirs)
    give_parameters(ours, resumed)
    ft.from_torch_state_dict(resumed.opt, theirs.opt.state_dict())
    assert_same_run(resumed, straight)
    steps(range(4, 9), resumed, straight, theirs)
    assert_same_run(resumed, straight)
    assert_close(straight, theirs, TOLERANCE[np.float32])


@pytest.mark.parametrize("name", OPTIONS)
def test_parameters_that_have_made_no_step_start_at_their_first(name):
    options = OPTIONS[name][-1]
    some = ("layer.b",)
    theirs, ours = Theirs(name, **options), Ours(name, **options)
    steps(range(3), theirs, only=some)
    give_parameters(theirs, ours)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    assert [own["step"] > 0 for own in ours.opt.state.values()][::2] == [False, False]
    again = Theirs(name, **options)
    give_parameters(theirs, again)
    again.opt.load_state_dict(ft.to_torch_state_dict(ours.opt))
    steps(range(3, 6), theirs, ours, again)
    assert_close(ours, theirs, TOLERANCE[np.float32])
    assert_close(ours, again, TOLERANCE[np.float32])


def grouped(kind, **shared):
    run = kind("SGD")
    params = run.params
    groups = [
        {"params": {n: params[n] for n in ("layer.w", "layer.b")}, "lr": 0.1, "weight_decay": 0.2},
        {"params": {"scale": params["scale"]}, "betas": (0.5, 0.6)},
    ]
    if kind is Theirs:
        groups = [{**group, "params": [*group["params"].values()]} for group in groups]
    library = torch.optim if kind is Theirs else fs
    run.opt = library.AdamW(groups, **shared)
    return run


def test_groups():
    theirs, ours = grouped(Theirs), grouped(Ours, lr=7.0)
    steps(range(3), theirs)
    theirs.opt.param_groups[1]["lr"] = 0.25
    give_parameters(theirs, ours)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    assert [(g["lr"], g["weight_decay"], g["betas"]) for g in ours.opt.groups] == [
        (0.1, 0.2, (0.9, 0.999)),
        (0.25, 0.01, (0.5, 0.6)),
    ]
    back = ft.to_torch_state_dict(ours.opt)["param_groups"]
    assert [group["params"] for group in back] == [[0, 1], [2]]
    assert [group["param_names"] for group in back] == [["layer.w", "layer.b"], ["scale"]]
    steps(range(3, 6), theirs, ours)
    assert_close(ours, theirs, TOLERANCE[np.float32])


def test_names_come_before_the_order():
    ours, straight = Ours("Adam"), Ours("Adam")
    steps(range(3), ours, straight)
    saved = ft.to_torch_state_dict(ours.opt)
    ours.opt = fs.Adam(dict(reversed(ours.params.items())))
    ft.from_torch_state_dict(ours.opt, saved)
    assert saved_bits(ours.opt)["state"] == saved_bits(straight.opt)["state"]
    # As torch gives them to an optimizer of named_parameters(), and in distributed checkpoints.
    theirs = Theirs("Adam", named=True)
    steps(range(3), theirs)
    saved = theirs.opt.state_dict()
    assert saved["param_groups"][0]["param_names"] == [*SHAPES]
    ft.from_torch_state_dict(ours.opt, saved)
    by_number = saved_bits(ours.opt)
    group = {key: value for key, value in saved["param_groups"][0].items() if key != "param_names"}
    saved = {
        "state": dict(zip(SHAPES, saved["state"].values(), strict=True)),
        "param_groups": [{**group, "params": [*SHAPES]}],
    }
    ft.from_torch_state_dict(ours.opt, saved)
    assert saved_bits(ours.opt) == by_number


def test_a_mask_of_the_decay_makes_groups():
    ours = Ours("AdamW", decay_mask=["layer.w"])
    ours.step(0)
    saved = ft.to_torch_state_dict(ours.opt)
    assert [group["weight_decay"] for group in saved["param_groups"]] == [0.01, 0.0]
    other = Ours("AdamW", decay_mask=["layer.w"])
    ft.from_torch_state_dict(other.opt, saved)
    assert saved_bits(other.opt) == saved_bits(ours.opt)


@pytest.mark.parametrize("step", [3, 3.0, np.float32(3), torch.tensor(3.0), torch.tensor([3])])
def test_counters_may_be_numbers_or_tensors(step):
    ours, theirs = Ours("Adam"), Theirs("Adam")
    theirs.step(0)
    saved = theirs.opt.state_dict()
    for own in saved["state"].values():
        own["step"] = step
    ft.from_torch_state_dict(ours.opt, saved)
    assert [own["step"] for own in ours.opt.state.values()] == [3, 3, 3]
    assert ours.opt.step_count == 3


@pytest.mark.parametrize("step", [2**24, 2**24 + 1, 2**53])
def test_counters_are_exact_or_refused(step):
    ours, theirs, other = Ours("Adam"), Theirs("Adam"), Ours("Adam")
    ours.opt.set_counters(step, step)
    theirs.opt.load_state_dict(ft.to_torch_state_dict(ours.opt))
    ft.from_torch_state_dict(other.opt, theirs.opt.state_dict())
    assert saved_bits(other.opt) == saved_bits(ours.opt)
    theirs.step(0)
    if step < 2**53:
        assert theirs.opt.state_dict()["state"][0]["step"] - step in (0, 1)  # float32, or float64
    ours.opt.set_counters(steps={"scale": 2**53 + 1})
    with pytest.raises(fs.CheckpointError, match="'scale': step 9007199254740993 is no float64"):
        ft.to_torch_state_dict(ours.opt)


@pytest.mark.parametrize(
    "how", [{"foreach": True}, {"foreach": False}, {"fused": True}, {"capturable": False}]
)
def test_how_torch_runs_its_steps_does_not_matter(how):
    theirs, ours = Theirs("Adam", **how), Ours("Adam")
    theirs.step(0)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    saved = ft.to_torch_state_dict(ours.opt)
    assert saved["param_groups"][0]["foreach"] is None
    saved["param_groups"][0] |= how
    theirs.opt.load_state_dict(saved)
    theirs.step(1)


@pytest.mark.parametrize("rate", [0.5, torch.tensor(0.5), torch.tensor([0.5])])
def test_rates_may_be_tensors_and_schedulers_leave_their_notes(rate):
    theirs, ours = Theirs("Adam", lr=rate), Ours("Adam")
    scheduler = torch.optim.lr_scheduler.ExponentialLR(theirs.opt, 0.5)
    theirs.step(0)
    scheduler.step()
    saved = theirs.opt.state_dict()
    assert "initial_lr" in saved["param_groups"][0]
    ft.from_torch_state_dict(ours.opt, saved)
    assert ours.opt.lr == 0.25


def test_schedules_are_kept_and_their_rate_is_given():
    theirs, ours = Theirs("Adam"), Ours("Adam", lr=lambda step: 0.5 ** (step + 1))
    steps(range(3), theirs)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    assert ours.opt.lr == 0.5**4
    assert ft.to_torch_state_dict(ours.opt)["param_groups"][0]["lr"] == 0.5**4


def test_options_that_older_versions_of_torch_do_not_have():
    theirs, ours = Theirs("Adam"), Ours("Adam", maximize=True)
    saved = theirs.opt.state_dict()
    for name in ("maximize", "decoupled_weight_decay", "foreach", "fused", "capturable"):
        del saved["param_groups"][0][name]
    ft.from_torch_state_dict(ours.opt, saved)
    assert ours.opt.groups[0]["maximize"] is False


def test_options_that_torch_does_not_have_stay():
    theirs, ours = Theirs("Adam"), Ours("Adam", max_grad_norm=1.0, skip_nonfinite=True)
    theirs.step(0)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    assert ours.opt.groups[0]["max_grad_norm"] == 1.0


def test_subclasses_are_of_the_rule():
    class Mine(fs.Adam):
        pass

    theirs, ours = Theirs("Adam"), Ours("Adam")
    theirs.step(0)
    ours.opt = Mine(ours.params)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    assert ours.opt.step_count == 1


def test_the_optimizers_of_this_package_take_and_give_them_too():
    ours, theirs = Ours("Adam", max_grad_norm=0.5), Theirs("Adam")
    theirs.opt = ft.Adam(theirs.params.values(), max_grad_norm=0.5)
    steps(range(3), theirs)
    give_parameters(theirs, ours)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    steps(range(3, 6), ours, theirs)
    for name, param in ours.params.items():
        assert bits(param) == bits(theirs.params[name].detach())
    ours.opt.groups[0]["max_grad_norm"] = None
    theirs.opt.load_state_dict(ft.to_torch_state_dict(ours.opt))
    theirs.opt.param_groups[0]["max_grad_norm"] = None
    steps(range(6, 9), ours, theirs)
    for name, param in ours.params.items():
        assert bits(param) == bits(theirs.params[name].detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_moments_are_widened(dtype):
    param = torch.nn.Parameter(torch.linspace(-1, 1, 9).to(dtype))
    theirs, ours = torch.optim.Adam([param]), fs.Adam([param.detach().clone()])
    param.grad = torch.linspace(1, 2, 9).to(dtype)
    theirs.step()
    saved = theirs.state_dict()
    assert saved["state"][0]["exp_avg"].dtype == dtype
    ft.from_torch_state_dict(ours, saved)
    wide = saved["state"][0]["exp_avg"].float()
    assert bits(ours.state["0"]["exp_avg"]) == bits(wide)
    assert bits(ft.to_torch_state_dict(ours)["state"][0]["exp_avg"]) == bits(wide)
    stored = fs.Adam([param.detach().clone()], state_dtype="bfloat16")
    if dtype == torch.bfloat16:
        ft.from_torch_state_dict(stored, saved)
        assert bits(stored.decoded_state("0")["exp_avg"]) == bits(wide)
    else:
        with pytest.raises(
            fs.CheckpointError, match="'exp_avg': expected dtype uint16, got float16"
        ):
            ft.from_torch_state_dict(stored, saved)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "8bit"])
def test_narrow_state_that_has_made_no_step(state_dtype):
    options = {"state_dtype": state_dtype, "min_8bit_size": 1}
    ours, fresh = Ours("Adam", **options), Ours("Adam", **options)
    steps(range(3), ours)
    ft.from_torch_state_dict(ours.opt, Theirs("Adam").opt.state_dict())
    assert saved_bits(ours.opt) == saved_bits(fresh.opt)


def test_any_order_of_axes():
    ours, theirs = Ours("Adam", order="F"), Theirs("Adam")
    steps(range(3), theirs)
    give_parameters(theirs, ours)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    saved = ft.to_torch_state_dict(ours.opt)["state"][0]["exp_avg"]
    assert torch.equal(saved, theirs.opt.state_dict()["state"][0]["exp_avg"])
    steps(range(3, 6), ours, theirs)
    assert_close(ours, theirs, TOLERANCE[np.float32])


@pytest.mark.usefixtures("emulated")
def test_parameters_on_a_device():
    theirs, ours, device = Theirs("Adam"), Ours("Adam"), Ours("Adam")
    steps(range(3), theirs)
    device.opt = fs.Adam(on_device(device.params))
    for run in (ours, device):
        ft.from_torch_state_dict(run.opt, theirs.opt.state_dict())
    assert saved_bits(device.opt) == saved_bits(ours.opt)
    one, other = (ft.to_torch_state_dict(run.opt)["state"] for run in (ours, device))
    assert {i: bits(own["exp_avg"]) for i, own in one.items()} == {
        i: bits(own["exp_avg"]) for i, own in other.items()
    }


def test_state_that_autograd_follows():
    theirs, ours = Theirs("Adam"), Ours("Adam")
    theirs.step(0)
    saved = theirs.opt.state_dict()
    saved["state"][0]["exp_avg"].requires_grad_()
    ft.from_torch_state_dict(ours.opt, saved)
    assert bits(ours.opt.state["layer.w"]["exp_avg"]) == bits(saved["state"][0]["exp_avg"].detach())


def test_what_is_saved_is_a_copy():
    ours = Ours("Adam")
    ours.step(0)
    saved = ft.to_torch_state_dict(ours.opt)
    kept = copy.deepcopy(saved["state"])
    ours.step(1)
    assert all(torch.equal(saved["state"][i]["exp_avg"], kept[i]["exp_avg"]) for i in kept)


def test_sgd_counts_no_steps_in_torch_and_starts_its_buffer_at_the_first_gradient():
    theirs, ours = Theirs("SGD", momentum=0.9), Ours("SGD", momentum=0.9)
    steps(range(5), theirs)
    ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())
    assert ours.opt.step_count == 1
    saved = theirs.opt.state_dict()
    saved["state"][0]["momentum_buffer"] = None
    ft.from_torch_state_dict(ours.opt, saved)
    assert [own["step"] for own in ours.opt.state.values()] == [0, 1, 1]
    assert ft.to_torch_state_dict(ours.opt)["state"][0]["momentum_buffer"] is None
