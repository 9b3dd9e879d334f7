"""State dicts of torch.optim that do not fit, and optimizers that torch cannot have."""

from typing import NamedTuple

import pytest

torch = pytest.importorskip("torch")

from torch._subclasses.fake_tensor import FakeTensorMode

import fusedstep as fs
import fusedstep.torch as ft
from torch_runs import Ours, Theirs, saved_bits


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        (
            "Adam",
            {"max_grad_norm": 1.0, "eps_inside_sqrt": True},
            ("max_grad_norm=1.0", "eps_insi"),
        ),
        ("Adam", {"state_dtype": "bfloat16", "skip_nonfinite": True}, ("state_dtype", "skip_")),
        ("SGD", {"ema_decay": 0.9, "max_grad_value": 2.0}, ("ema_decay=0.9", "max_grad_value=2.0")),
    ],
)
def test_options_without_a_counterpart_are_all_named(name, options, named):
    with pytest.raises(
        fs.CheckpointError, match=f"^this \\w+ cannot be saved as torch.optim.{name}"
    ) as error:
        ft.to_torch_state_dict(Ours(name, **options).opt)
    assert all(text in str(error.value) for text in named)


def test_only_rules_and_optimizers_that_have_a_counterpart():
    with pytest.raises(
        ValueError, match=r"a rule that torch.optim has too \(.*AdamW.*\), got Lion"
    ):
        ft.to_torch_state_dict(Ours("Lion").opt)
    with pytest.raises(TypeError, match="expected an optimizer of the core"):
        ft.to_torch_state_dict(Theirs("Adam").opt)
    with pytest.raises(TypeError, match="expected an optimizer of the core"):
        ft.from_torch_state_dict(None, {})


class Parts(NamedTuple):
    whole: dict
    own: dict  # the state of the first parameter
    group: dict


def changed(change):
    theirs = Theirs("Adam")
    theirs.step(0)
    saved = dict(theirs.opt.state_dict())
    change(Parts(saved, saved["state"][0], saved["param_groups"][0]))
    return saved


BAD = {
    "state: expected a mapping, got NoneType": lambda at: at.whole.pop("state"),
    "state: expected a mapping, got list": lambda at: at.whole.update(state=[]),
    "param_groups: expected a list, got dict": lambda at: at.whole.update(param_groups={}),
    "param_groups: expected 1, got 2": lambda at: at.whole["param_groups"].append(at.group),
    "group 0: expected a mapping of options, got int": lambda at: at.whole.update(param_groups=[3]),
    "group 0: expected 3 parameters, got 2": lambda at: at.group.update(params=[0, 1]),
    "group 0: expected 3 parameters, got 4": lambda at: at.group.update(params=[0, 1, 2, 3]),
    "group 0: expected the numbers of its params, got 'abc'": lambda at: at.group.update(
        params="abc"
    ),
    "group 0: expected the numbers of its params, got [[0]]": lambda at: at.group.update(
        params=[[0]]
    ),
    "group 0: expected 3 names": lambda at: at.group.update(param_names=["scale"] * 3),
    "got ['layer.w', 'layer.b', 'new']": lambda at: at.group.update(param_names=NEW),
    "parameter 'new': unexpected": lambda at: at.group.update(param_names=NEW),
    "parameter 'scale': missing": lambda at: at.group.update(param_names=NEW),
    "option 'betas' missing": lambda at: at.group.pop("betas"),
    "lr: expected a finite number >= 0, got -1": lambda at: at.group.update(lr=-1.0),
    "lr: expected a finite number >= 0, got": lambda at: at.group.update(lr=torch.zeros(2)),
    "decoupled_weight_decay: expected False as in torch.optim.Adam, got True": (
        lambda at: at.group.update(decoupled_weight_decay=True)
    ),
    "option 'momentum' unexpected, which torch.optim.Adam does not have": (
        lambda at: at.group.update(momentum=0.9)
    ),
    "amsgrad cannot be changed after construction": lambda at: at.group.update(amsgrad=True),
    "state[7]: of no parameter": lambda at: at.whole["state"].update({7: at.own}),
    "expected a mapping of its state, got int": lambda at: at.whole["state"].update({0: 3}),
    "step: expected an integer, got 2.5": lambda at: at.own.update(step=torch.tensor(2.5)),
    "step: expected an integer, got 'x'": lambda at: at.own.update(step="x"),
    "step: expected an integer, got True": lambda at: at.own.update(step=True),
    "step: expected an integer from 0": lambda at: at.own.update(step=-1),
    "state 'step' missing": lambda at: at.own.pop("step"),
    "state 'exp_avg' missing": lambda at: at.own.pop("exp_avg"),
    "state 'square_avg' unexpected": lambda at: at.own.update(square_avg=torch.zeros(3)),
    "'exp_avg': expected shape (7, 5), got (5, 7)": lambda at: at.own["exp_avg"].t_(),
    "'exp_avg': expected dtype float32, got float64": (
        lambda at: at.own.update(exp_avg=at.own["exp_avg"].double())
    ),
    "'exp_avg': expected dtype float32, got complex64": (
        lambda at: at.own.update(exp_avg=at.own["exp_avg"].cfloat())
    ),
    "'exp_avg': expected an array, got Tensor": (
        lambda at: at.own.update(exp_avg=at.own["exp_avg"].to_sparse())
    ),
    "'exp_avg': expected an array, got Parameter": (
        lambda at: at.own.update(exp_avg=torch.nn.Parameter(at.own["exp_avg"].to("meta")))
    ),
    "'exp_avg': expected an array, got FakeTensor": (
        lambda at: at.own.update(exp_avg=FakeTensorMode().from_tensor(at.own["exp_avg"]))
    ),
    "'exp_avg_sq': expected an array, got str": lambda at: at.own.update(exp_avg_sq="x"),
}
NEW = ["layer.w", "layer.b", "new"]


@pytest.mark.parametrize("message", BAD)
def test_fault_29_what_does_not_fit_is_refused_and_changes_nothing(message):
    ours = Ours("Adam")
    ours.step(0)
    before = saved_bits(ours.opt)
    with pytest.raises(fs.CheckpointError) as error:
        ft.from_torch_state_dict(ours.opt, changed(BAD[message]))
    assert message in str(error.value)
    assert saved_bits(ours.opt) == before


def test_fault_29_every_difference_is_in_one_error():
    ours = Ours("Adam")

    def change(at):
        at.group["lr"] = -1.0
        at.own["step"] = 0.5
        at.own["exp_avg"] = torch.zeros(3)
        del at.whole["state"][1]["exp_avg_sq"]
        at.whole["state"][9] = {}

    with pytest.raises(fs.CheckpointError, match="does not fit this Adam") as error:
        ft.from_torch_state_dict(ours.opt, changed(change))
    parts = ["state[9]", "got 0.5", "got (3,)", "'exp_avg_sq' missing", "lr: "]
    assert len(error.value.differences) == len(parts)
    assert all(part in str(error.value) for part in parts)


@pytest.mark.parametrize("rule", ["Adam", "SGD"])
@pytest.mark.parametrize("count", [0, 1])
def test_averages_are_not_made_up(rule, count):
    theirs, ours = Theirs(rule), Ours(rule, ema_decay=0.9)
    for i in range(count):
        theirs.step(i)
    with pytest.raises(fs.CheckpointError, match=r"'layer.w': state 'ema' missing"):
        ft.from_torch_state_dict(ours.opt, theirs.opt.state_dict())


@pytest.mark.parametrize(
    ("theirs", "ours"), [("RAdam", "Adam"), ("Adam", "RAdam"), ("AdamW", "Adam"), ("SGD", "Adam")]
)
def test_fault_29_state_dicts_of_another_rule_are_refused(theirs, ours):
    other = Theirs(theirs)
    other.step(0)
    run = Ours(ours)
    before = saved_bits(run.opt)
    with pytest.raises(fs.CheckpointError, match=f"does not fit this {ours}:"):
        ft.from_torch_state_dict(run.opt, other.opt.state_dict())
    assert saved_bits(run.opt) == before
