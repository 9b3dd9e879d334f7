"""Groups are read at every step, as torch's are; schedulers change them."""

import copy

import pytest

torch = pytest.importorskip("torch")

from torch.optim import lr_scheduler

import fusedstep.torch as ft


def twins(shapes=((4, 3), (5,))):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in shapes]
    return params, copy.deepcopy(params)


def step(*sides, seed=0):
    for params, opt in sides:
        torch.manual_seed(seed)
        for param in params:
            param.grad = torch.randn_like(param)
        opt.step()


def assert_close(params, others):
    for param, other in zip(params, others, strict=True):
        torch.testing.assert_close(param, other)


SCHEDULERS = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda _: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 5]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.9),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=20),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)], [3]
    ),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.9)]
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
}


def test_every_scheduler_of_torch_is_here():
    public = {
        name
        for name in lr_scheduler.__all__
        if name not in ("LRScheduler", "_LRScheduler") and not name.startswith("_")
    }
    assert public <= SCHEDULERS.keys()


@pytest.mark.parametrize("name", ["SGD", "Adam", "Rprop"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("as_tensor", [False, True])
def test_schedulers(name, scheduler, as_tensor):
    options = {"momentum": 0.9} if name == "SGD" else {}
    params, others = twins()
    lr = torch.tensor(0.1) if as_tensor else 0.1
    ours = getattr(ft, name)(params, lr=lr, **options)
    theirs = getattr(torch.optim, name)(others, lr=copy.deepcopy(lr), **options)
    make = SCHEDULERS[scheduler]
    if name == "Rprop" and scheduler in ("CyclicLR", "OneCycleLR"):
        make = {
            "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, 3, cycle_momentum=False),
            "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
                o, 0.1, total_steps=20, cycle_momentum=False
            ),
        }[scheduler]
    schedules = [make(ours), make(theirs)]
    for i in range(10):
        step((params, ours), (others, theirs), seed=i)
        for schedule in schedules:
            schedule.step(*[1.0] * (scheduler == "ReduceLROnPlateau"))
    assert_close(params, others)
    assert float(ours.param_groups[0]["lr"]) == pytest.approx(float(theirs.param_groups[0]["lr"]))


def test_options_may_change_between_steps():
    params, others = twins()
    ours, theirs = ft.AdamW(params), torch.optim.AdamW(others)
    step((params, ours), (others, theirs))
    changes = [
        {"lr": 0.1},
        {"betas": [0.5, 0.6]},
        {"weight_decay": 0.5, "eps": 1e-3},
        {"maximize": True},
    ]
    for i, change in enumerate(changes):
        for opt in (ours, theirs):
            opt.param_groups[0].update(change)
        step((params, ours), (others, theirs), seed=i)
        assert_close(params, others)


@pytest.mark.parametrize("name", ["lr", "betas"])
def test_a_tensor_of_several_numbers_is_a_wrong_value(name):
    params, _ = twins()
    several = torch.tensor([0.1, 0.2])
    value = several if name == "lr" else (several, 0.99)
    with pytest.raises(ValueError, match=f"{name}: expected one number"):
        ft.Adam(params, **{name: value})
    with pytest.raises(ValueError, match=f"{name}: expected one number"):
        ft.Adam([{"params": params, name: value}])


@pytest.mark.parametrize("value", [-1.0, float("nan"), "fast", None])
def test_an_invalid_option_changes_nothing(value):
    params, _ = twins()
    opt = ft.AdamW(params)
    step((params, opt))
    before = copy.deepcopy((params, opt.state_dict()["state"]))
    opt.param_groups[0]["lr"] = value
    with pytest.raises((TypeError, ValueError), match="lr: expected"):
        step((params, opt))
    assert all(torch.equal(a, b) for a, b in zip(params, before[0], strict=True))
    state = opt.state_dict()["state"]
    assert all(torch.equal(state[i][k], before[1][i][k]) for i in state for k in state[i])
    opt.param_groups[0]["lr"] = 0.1
    step((params, opt))


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("SGD", {"momentum": 0.9}),
        ("SGD", {"momentum": 0.9, "dampening": 0.5}),
        ("SGD", {"nesterov": True, "momentum": 0.5}),
    ],
)
def test_momentum_may_be_switched_on_later(name, change):
    params, others = twins()
    ours, theirs = getattr(ft, name)(params, lr=0.1), getattr(torch.optim, name)(others, lr=0.1)
    for i in range(2):
        step((params, ours), (others, theirs), seed=i)
    for opt in (ours, theirs):
        opt.param_groups[0].update(change)
    for i in range(3):
        step((params, ours), (others, theirs), seed=i)
    assert_close(params, others)


def test_amsgrad_may_be_switched_on_later():
    params, _ = twins()
    opt = ft.Adam(params)
    step((params, opt))
    opt.param_groups[0]["amsgrad"] = True
    step((params, opt))
    assert all("max_exp_avg_sq" in opt.state[param] for param in params)


def test_groups_are_added_and_have_their_own_options():
    params, others = twins()
    ours = ft.AdamW([{"params": params[:1], "lr": 0.1}])
    theirs = torch.optim.AdamW([{"params": others[:1], "lr": 0.1}])
    step((params[:1], ours), (others[:1], theirs))
    for opt, own in ((ours, params), (theirs, others)):
        opt.add_param_group({"params": own[1:], "weight_decay": 0.5})
    for i in range(3):
        step((params, ours), (others, theirs), seed=i)
    assert_close(params, others)
    with pytest.raises(ValueError, match="betas"):
        ours.add_param_group({"params": [torch.nn.Parameter(torch.ones(2))], "betas": (2.0, 0.9)})
    assert len(ours.param_groups) == 2


def test_parameters_may_be_exchanged_in_a_group():
    params, others = twins()
    ours, theirs = ft.AdamW(params), torch.optim.AdamW(others)
    step((params, ours), (others, theirs))
    for own, opt in ((params, ours), (others, theirs)):
        new = torch.nn.Parameter(torch.ones(6))
        own[1] = new
        opt.param_groups[0]["params"][1] = new
    for i in range(3):
        step((params, ours), (others, theirs), seed=i)
    assert_close(params, others)


def test_data_may_be_replaced():
    params, others = twins()
    ours, theirs = ft.AdamW(params), torch.optim.AdamW(others)
    for i in range(3):
        step((params, ours), (others, theirs), seed=i)
        for own in (params, others):
            for param in own:
                param.data = param.data.clone() * 0.5
    step((params, ours), (others, theirs), seed=9)
    assert_close(params, others)


def test_names_of_parameters_are_in_messages():
    model = torch.nn.Linear(3, 2)
    opt = ft.AdamW(model.named_parameters())
    for param in model.parameters():
        param.grad = torch.ones_like(param)
    opt.step()
    opt.state[model.weight]["exp_avg"] = "gone"
    with pytest.raises(TypeError, match="state 'exp_avg' of 'weight'"):
        opt.step()
