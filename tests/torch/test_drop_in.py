"""Each optimizer beside that of the same name in torch.optim: arguments, results, state dicts."""

import copy
import inspect
import io

import pytest

torch = pytest.importorskip("torch")

import fusedstep.torch as ft
from fusedstep._definition import registry

CLASSES = [name for name in ft.__all__ if isinstance(getattr(ft, name), type)]
BOTH = [name for name in CLASSES if name != "Optimizer" and hasattr(torch.optim, name)]
DENSE = [name for name in BOTH if name != "SparseAdam"]
# Beside the defaults, what gives the rule more to do.
OPTIONS = {
    "SGD": [{"lr": 0.1, "momentum": 0.9, "nesterov": True}, {"momentum": 1.5, "dampening": 0.5}],
    "Adam": [
        {"amsgrad": True},
        {"weight_decay": 0.1},
        {"weight_decay": 0.1, "decoupled_weight_decay": True},
    ],
    "AdamW": [{"amsgrad": True, "maximize": True}, {"betas": (0.5, 0.9), "weight_decay": 0.3}],
    "RMSprop": [{"momentum": 0.9, "centered": True}],
    "Adagrad": [{"lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.1}],
    "NAdam": [{"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "RAdam": [{"weight_decay": 0.1, "decoupled_weight_decay": True}],
    "ASGD": [{"t0": 3, "lambd": 0.1}],
    "Rprop": [{"etas": (0.4, 1.3), "step_sizes": (1e-5, 1.0)}],
}
CASES = [(name, options) for name in DENSE for options in [{}, *OPTIONS.get(name, [])]]
each_case = pytest.mark.parametrize(("name", "options"), CASES)


def parameters(dtype=torch.float32, shapes=((7, 5), (11,), ())):
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype)) for shape in shapes]


def pair(name, options, **kinds):
    params = parameters(**kinds)
    twins = copy.deepcopy(params)
    ours = getattr(ft, name)(params, **options)
    return params, twins, ours, getattr(torch.optim, name)(twins, **options)


def steps(count, sides, seed=1):
    for i in range(count):
        for params, opt in sides:
            torch.manual_seed(seed * 1000 + i)
            for param in params:
                param.grad = torch.randn_like(param)
            opt.step()


def assert_close(params, twins, **tolerance):
    for param, twin in zip(params, twins, strict=True):
        torch.testing.assert_close(param, twin, **tolerance)


@pytest.mark.parametrize("name", BOTH)
def test_arguments_come_in_torchs_order_with_torchs_defaults(name):
    ours = inspect.signature(getattr(ft, name)).parameters
    theirs = inspect.signature(getattr(torch.optim, name)).parameters
    assert list(theirs)[: len(theirs)] == [n for n in ours if n in theirs] or not (
        set(theirs) - set(ours)
    )
    by_position = [n for n, p in theirs.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    flags = ("foreach", "maximize", "capturable", "differentiable", "fused")
    by_position = [n for n in by_position if n not in flags]
    assert list(ours)[: len(by_position)] == by_position
    for option, theirs_of in theirs.items():
        if option not in ("params", *flags):
            assert ours[option].default == theirs_of.default, option


def test_every_rule_has_an_optimizer():
    assert {cls.__name__ for cls in registry.values()} <= set(ft.__all__)


@each_case
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64])
def test_results_are_torchs(name, options, dtype):
    params, twins, ours, theirs = pair(name, options, dtype=dtype)
    steps(20, [(params, ours), (twins, theirs)])
    assert_close(params, twins)


def test_adam_goes_by_what_adamw_has_saved():
    params = [torch.nn.Parameter(torch.ones(3))]
    saved = ft.AdamW(params).state_dict()
    for adam in (ft.Adam(params), torch.optim.Adam(params)):
        adam.load_state_dict(saved)
        assert adam.param_groups[0]["decoupled_weight_decay"] is True
    coupled = ft.Adam(params).state_dict()
    older = ft.AdamW(params).state_dict()
    del older["param_groups"][0]["decoupled_weight_decay"]
    for given in (coupled, older):
        adamw = ft.AdamW(params)
        adamw.load_state_dict(given)
        assert adamw.param_groups[0]["decoupled_weight_decay"] is True
    with pytest.raises(ValueError, match="decoupled_weight_decay: expected True, got False"):
        ft.AdamW([{"params": params, "decoupled_weight_decay": False}])


@each_case
def test_state_dicts_go_both_ways(name, options):
    params, twins, ours, theirs = pair(name, options)
    steps(3, [(params, ours), (twins, theirs)])
    saved, other = copy.deepcopy(ours.state_dict()), copy.deepcopy(theirs.state_dict())
    for key, own in other["state"].items():
        assert {n for n, v in own.items() if v is not None} <= saved["state"][key].keys()
    for group, twin in zip(saved["param_groups"], other["param_groups"], strict=True):
        assert twin.keys() <= group.keys()
    ours.load_state_dict(other)
    theirs.load_state_dict(saved)
    steps(3, [(params, ours), (twins, theirs)], seed=2)
    assert_close(params, twins)


@pytest.mark.parametrize(
    "name", sorted(set(CLASSES) - {"Optimizer", "CPUOffload", "DeepSpeedCPUAdam", "SparseAdam"})
)
def test_a_resumed_run_has_the_same_bits(name):
    params = parameters()
    whole = getattr(ft, name)(params)
    steps(3, [(params, whole)])
    file = io.BytesIO()
    torch.save({"params": params, "opt": whole.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file)  # weights_only
    twins = [torch.nn.Parameter(p.detach()) for p in saved["params"]]
    resumed = getattr(ft, name)(twins)
    resumed.load_state_dict(saved["opt"])
    steps(3, [(params, whole), (twins, resumed)], seed=2)
    for param, twin in zip(params, twins, strict=True):
        assert torch.equal(param, twin)
    for param, twin in zip(params, twins, strict=True):
        own, other = whole.state[param], resumed.state[twin]
        assert own.keys() == other.keys()
        assert all(torch.equal(own[key], other[key]) for key in own)


@pytest.mark.parametrize("flag", ["foreach", "fused", "capturable", "differentiable"])
def test_flags_that_ask_for_nothing_are_accepted(flag):
    params = parameters()
    ft.Adam(params, **{flag: False})
    with pytest.raises(ValueError, match=f"{flag}: expected False or None"):
        ft.Adam(params, **{flag: True})


def test_unknown_and_invalid_options_are_refused_by_name():
    params = parameters()
    with pytest.raises(TypeError, match="'learning_rate'"):
        ft.Adam(params, learning_rate=1)
    with pytest.raises(ValueError, match="lr: expected a finite number >= 0, got -1"):
        ft.Adam(params, lr=-1.0)
    with pytest.raises(ValueError, match=r"betas\[0\]"):
        ft.Adam([{"params": params, "betas": (1.0, 0.9)}])


def test_is_an_optimizer_of_torch():
    opt = ft.AdamW(parameters())
    assert isinstance(opt, torch.optim.Optimizer)
    assert type(opt).__name__ == "AdamW"
    assert type(opt).__module__ == "fusedstep.torch"
    assert "Parameter Group 0" in repr(opt)
