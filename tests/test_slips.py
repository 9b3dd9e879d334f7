"""What a first-time user gets wrong is refused, in words that say what to do instead."""

import copy
import pickle

import numpy as np
import pytest

import fusedstep as fs


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (("a", "c"), ValueError, r"expected names of parameters \(a, b\), came 'c'"),
        # No selection is no selection, not all.
        (
            (),
            ValueError,
            r"expected at least one name, came none \(of all: opt.{}\(\*opt.params\)\)",
        ),
        ((["a"],), TypeError, r"expected names \(str\), came \['a'\] \(of a list: opt.{}\(\*names"),
        (("a", 0), TypeError, r"expected names \(str\), came 0"),
    ],
)
def test_names_that_cannot_be_frozen(names, error, words):
    opt = fs.SGD({"a": np.ones(3), "b": np.ones(3)})
    opt.freeze("b")
    for verb in ("freeze", "unfreeze"):
        with pytest.raises(error, match=f"^{verb}: {words.format(verb)}"):
            getattr(opt, verb)(*names)
        assert opt.frozen == {"b"}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("weight_decay", r"set it by group: opt.groups\[i\]\['weight_decay'\] = ..."),
        ("max_grad_norm", r"set it by group: opt.groups\[i\]\['max_grad_norm'\] = ..."),
        ("ema_decay", r"it is given at construction: SGD\(..., ema_decay=...\)"),
        ("learning_rate", "there is no such option; there are lr, momentum, "),
    ],
)
def test_attributes_that_no_step_would_see(name, hint):
    opt = fs.SGD(np.ones(3))
    with pytest.raises(AttributeError, match=rf"^SGD.{name} cannot be set: {hint}"):
        setattr(opt, name, 0.5)
    assert not hasattr(opt, name)


def test_where_the_hints_lead():
    w = np.ones(3)
    opt = fs.SGD(w, lr=1.0)
    opt.groups[0]["weight_decay"] = 0.5
    opt.groups[0]["max_grad_norm"] = 1.0
    opt.step(np.zeros(3))
    assert np.all(w == 0.5)


def test_state_is_written_into_not_replaced():
    opt = fs.Adam({"w": np.ones(3)})
    with pytest.raises(TypeError, match="does not support item assignment"):
        opt.state["w"]["exp_avg"] = np.ones(3)
    opt.state["w"]["exp_avg"][...] = 1.0
    assert np.all(opt.state["w"]["exp_avg"] == 1.0)


@pytest.mark.parametrize("make", [fs.Adam, fs.EMA])
@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy, pickle.dumps])
def test_what_holds_memory_is_not_copied(make, copying):
    name = make.__name__
    with pytest.raises(TypeError, match=f"^{name}: it holds the memory .* into a new {name}$"):
        copying(make({"w": np.ones(3)}))


@pytest.mark.parametrize("make", [fs.Adam, fs.EMA])
def test_a_saved_state_is_copied(make):
    w = {"w": np.ones(3)}
    saved = pickle.loads(pickle.dumps(copy.deepcopy(make(w).state_dict())))
    make(w).load_state_dict(saved)


@pytest.mark.parametrize(
    ("make", "keys"),
    [(fs.SGD, "format, rule, step_count, groups, state"), (fs.EMA, "decay, step_count, state")],
)
def test_an_empty_state(make, keys):
    with pytest.raises(ValueError, match=f"^state_dict: missing keys: {keys}$"):
        make({"w": np.ones(3)}).load_state_dict({})
