"""Weight decay for some of the parameters: ``decay_mask``."""

import math

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule, same_bits
from optimizers import refused
from reference import Run


def matrices(name, array):
    assert isinstance(name, str)
    return array.ndim > 1


MASKS = {"function": matrices, "patterns": ["*.w", "table"], "one pattern": "*[we]"}


def network():
    """Matrices and vectors by turns, in a nest."""
    rng = np.random.default_rng(1)
    layers = [{"b": rng.standard_normal(3), "w": rng.standard_normal((3, 3))} for _ in range(2)]
    return {"layers": layers, "table": rng.standard_normal((4, 2)), "bias": rng.standard_normal(2)}


@every_rule
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_matrices_decay_and_others_do_not(rule, mask):
    opt = fs.create(rule, network(), weight_decay=0.1, decay_mask=mask)
    names = ["layers.0.b", "layers.0.w", "layers.1.b", "layers.1.w", "table", "bias"]
    assert list(opt.params) == names
    decayed = [name for name, array in opt.params.items() if array.ndim > 1]
    assert [[*group.params] for group in opt.groups] == [
        decayed,
        [name for name in names if name not in decayed],
    ]
    assert [group["weight_decay"] for group in opt.groups] == [0.1, 0.0]
    runs = {
        name: Run(rule, {"weight_decay": 0.1 if name in decayed else 0.0}, array)
        for name, array in opt.params.items()
    }
    for seed in range(3):
        rng = np.random.default_rng(seed)
        grads = {name: rng.standard_normal(array.shape) for name, array in opt.params.items()}
        opt.step(grads)
        for name, run in runs.items():
            run.step(grads[name])
    for name, run in runs.items():
        assert same_bits(opt.params[name], np.asarray(run.param)), name
        for state, values in run.state.items():
            assert same_bits(opt.state[name][state], np.asarray(values))


def test_the_norm_is_one_over_all():
    grads = {"w": np.full((2, 2), 3.0), "b": np.full(2, 4.0)}
    params = {name: np.zeros_like(grad) for name, grad in grads.items()}
    opt = fs.AdamW(params, decay_mask=matrices, max_grad_norm=math.inf)
    assert opt.step(grads).grad_norm == math.sqrt(4 * 9 + 2 * 16)


def test_groups_keep_their_options_and_may_have_their_own_mask():
    groups = [
        {"params": {"a.w": np.ones((2, 2)), "a.b": np.ones(2)}, "lr": 0.5},
        {"params": {"b.w": np.ones((2, 2)), "b.b": np.ones(2)}, "decay_mask": ["b.b"]},
        {"params": {"c.w": np.ones((2, 2)), "c.b": np.ones(2)}, "decay_mask": None},
        {"params": {"d.b": np.ones(2)}, "weight_decay": 0.3},
    ]
    opt = fs.AdamW(groups, lr=0.1, weight_decay=0.2, decay_mask=["*.w"])
    seen = [(group.params, group["lr"], group["weight_decay"]) for group in opt.groups]
    assert seen == [
        (("a.w",), 0.5, 0.2),
        (("a.b",), 0.5, 0.0),
        (("b.b",), 0.1, 0.2),
        (("b.w",), 0.1, 0.0),
        (("c.w", "c.b"), 0.1, 0.2),
        (("d.b",), 0.1, 0.0),
    ]
    # As a list, gradients have the structure that was handed over.
    ones = {name: np.ones_like(array) for name, array in opt.params.items()}
    nests = [{name: ones[name] for name in ones if name[0] == letter} for letter in "abcd"]
    control = fs.AdamW(
        {name: np.ones_like(array) for name, array in ones.items()}, lr=0.1, weight_decay=0.0
    )
    control.step(ones)
    opt.step(nests)
    assert same_bits(opt.params["d.b"], control.params["d.b"])
    assert not same_bits(opt.params["c.b"], control.params["c.b"])


def test_a_group_that_is_added_is_divided_too():
    opt = fs.SGD([np.ones((2, 2)), np.ones(2)], lr=0.5, weight_decay=0.5, decay_mask=matrices)
    opt.add_group({"params": [np.ones(2), np.ones((2, 2))]})
    opt.add_group({"params": [np.ones(2)]})  # of which none is to decay
    opt.add_group({"params": {"v": np.ones(2), "u": np.ones(2)}, "decay_mask": ["v"]})
    assert list(opt.params) == ["0", "1", "1.0", "1.1", "2.0", "v", "u"]
    assert [group.params for group in opt.groups] == [
        ("0",),
        ("1",),
        ("1.1",),
        ("1.0",),
        ("2.0",),
        ("v",),
        ("u",),
    ]
    opt.step([np.zeros_like(array) for array in opt.params.values()])
    assert [array.flat[0] for array in opt.params.values()] == [0.75, 1, 1, 0.75, 1, 0.75, 1]


def test_a_mask_for_all_leaves_one_group():
    assert len(fs.AdamW([np.ones((2, 2))], decay_mask=matrices).groups) == 1


def test_a_divided_group_is_saved_and_loaded():
    make = lambda: fs.AdamW(network(), weight_decay=0.1, decay_mask=matrices)
    opt, other = make(), make()
    grads = {name: np.ones_like(array) for name, array in opt.params.items()}
    opt.step(grads)
    opt.groups[1]["weight_decay"] = 0.25
    other.load_state_dict(opt.state_dict())
    assert [group["weight_decay"] for group in other.groups] == [0.1, 0.25]
    by_hand = fs.AdamW(
        [
            {"params": {name: array for name, array in make().params.items() if array.ndim == n}}
            for n in (2, 1)
        ]
    )
    by_hand.load_state_dict(opt.state_dict())  # by name
    assert [group["weight_decay"] for group in by_hand.groups] == [0.1, 0.25]


@pytest.mark.parametrize(
    ("mask", "error", "words"),
    [
        (["*.weight", "w"], ValueError, ["decay_mask: no parameter matches '*.weight'", "w, b"]),
        ("W", ValueError, ["decay_mask: no parameter matches 'W'"]),
        (lambda *_: False, ValueError, ["decay_mask: expected", "false for all: w, b"]),
        (lambda *_: None, TypeError, ["decay_mask('w', array): expected True or False, got None"]),
        (lambda _, array: array, TypeError, ["decay_mask('w', array): expected True or False"]),
        ([], ValueError, ["decay_mask: expected a function", "got an empty list"]),
        ([1], TypeError, ["decay_mask: expected a function", "got 1"]),
        ({"w": True}, TypeError, ["decay_mask: expected a function", "got {'w': True}"]),
        (True, TypeError, ["decay_mask: expected a function", "got True"]),
    ],
)
def test_masks_that_are_refused(mask, error, words):
    params = {"w": np.ones(2), "b": np.ones(2)}
    opt = fs.AdamW({"first": np.ones(2)})
    with refused(opt, error, *words):
        opt.add_group({"params": params, "decay_mask": mask})
    for make in (
        lambda: fs.AdamW(params, decay_mask=mask),
        lambda: fs.AdamW([{"params": params, "decay_mask": mask}]),
    ):
        with pytest.raises(error) as caught:
            make()
        assert all(word in str(caught.value) for word in words)


def test_a_mask_is_no_option_of_a_step():
    opt = fs.AdamW({"w": np.ones(2)}, decay_mask=["w"])
    with pytest.raises(TypeError, match="decay_mask"):
        opt.groups[0]["decay_mask"] = ["w"]
