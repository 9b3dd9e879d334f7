"""What a first-time user gets wrong is refused, in words that say what to do instead."""

import copy
import pickle

import numpy as np
import pytest

import fusedstep as fs


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (("a", "c"), ValueError, r"expected names of parameters \(a, b\), got 'c'"),
        # No selection is no selection, not all.
        (
            (),
            ValueError,
            r"expected at least one name, got none \(of all: opt.{}\(\*opt.params\)\)",
        ),
        ((["a"],), TypeError, r"expected names \(str\), got \['a'\] \(of a list: opt.{}\(\*names"),
        (("a", 0), TypeError, r"expected names \(str\), got 0"),
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
    other = make(w)
    other.load_state_dict(saved)
    assert repr(other.state_dict()) == repr(saved)


@pytest.mark.parametrize(
    ("make", "keys"),
    [(fs.SGD, "format, rule, step_count, groups, state"), (fs.EMA, "decay, step_count, state")],
)
def test_an_empty_state(make, keys):
    with pytest.raises(ValueError, match=f"^state_dict: missing keys: {keys}$"):
        make({"w": np.ones(3)}).load_state_dict({})


# How parameters and gradients may come, too ------------------------------------------------------


def test_pairs_of_name_and_array_are_a_mapping():
    pairs = [("enc.w", np.ones(2)), ("enc.b", np.ones(2))]
    for make in (lambda: pairs, lambda: iter(pairs), lambda: [{"params": iter(pairs)}]):
        opt = fs.SGD(make(), lr=1.0)
        assert list(opt.params) == ["enc.w", "enc.b"]
        opt.step((name, np.ones(2)) for name in opt.params)
    assert pairs[0][1].tolist() == [-2.0, -2.0]
    with pytest.raises(ValueError, match="params: expected every name once, got 'w' twice"):
        fs.SGD([("w", np.ones(2)), ("w", np.ones(2))])


def test_generated_gradients():
    w = [np.ones(2), np.ones(3)]
    opt = fs.SGD([{"params": w[:1]}, {"params": w[1:]}], lr=1.0)
    opt.step((np.ones_like(p) for p in group) for group in (w[:1], w[1:]))
    assert all(np.all(p == 0) for p in w)
    with pytest.raises(ValueError, match=r"gradients\[0\]: expected 1 entries, got 2"):
        opt.step([(np.ones(2) for _ in range(2)), None])


@pytest.mark.parametrize(
    "params",
    [
        {"enc": {"w": np.ones(2)}, "head": {"w": np.ones(2)}},
        [{"params": {"enc.w": np.ones(2)}}, {"params": {"head.w": np.ones(2)}, "lr": 0.1}],
    ],
    ids=["nest", "groups"],
)
def test_names_that_no_parameter_has(params):
    opt = fs.Adam(params)
    words = r"^gradients: no parameter is named 'enc\.v'; there are enc\.w, head\.w$"
    with pytest.raises(ValueError, match=words):
        opt.step({"enc.v": np.ones(2), "head.w": np.ones(2)})


def test_names_in_a_message_are_not_endless():
    opt = fs.Adam([np.ones(1) for _ in range(30)])
    with pytest.raises(ValueError, match=r"there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.$"):
        opt.step({"w": np.ones(1)})
    nest = fs.Adam({"a": {"w": np.ones(1)}})
    with pytest.raises(ValueError, match=r"^gradients\['a'\]: there is no 'v'; there are w$"):
        nest.step({"a": {"v": np.ones(1)}})


@pytest.mark.parametrize("option", [("lr", 0.1), ("betas", (0.9, 0.99)), ("lr", lambda _: 0.1)])
def test_one_group_wants_a_list(option):
    name, value = option
    with pytest.raises(TypeError, match=r"^params: one group: put it in a list"):
        fs.Adam({"params": np.ones(2), name: value})
    assert list(fs.Adam({"params": np.ones(2), "rest": np.ones(2)}).params) == ["params", "rest"]


def test_indices_may_be_a_list():
    w = np.ones((4, 2))
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.step_rows("w", [1, np.int32(3)], np.ones((2, 2)))
    opt.step_rows("w", [], np.ones((0, 2)))
    assert w[:, 0].tolist() == [1, 0, 1, 0]
    with pytest.raises(IndexError, match="got -1 at position 0"):
        opt.step_rows("w", [-1], np.ones((1, 2)))


# Names and numbers -------------------------------------------------------------------------------


def test_rules_are_created_in_any_case():
    for name in ("Adam", "ADAM", "adam"):
        assert type(fs.create(name, np.ones(2))) is fs.Adam


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match=r"^Optimizer is abstract: use a rule such as fs.Adam\("):
        fs.Optimizer(np.ones(2))


class ZeroD:
    """A number as torch and JAX hand it over."""

    shape = ()

    def __init__(self, value):
        self.value = value

    def item(self):
        return self.value


def test_rates_may_be_arrays_without_axes():
    opt = fs.SGD(np.ones(2), lr=ZeroD(0.5))
    assert opt.lr == 0.5
    opt.lr = lambda step: ZeroD(0.25)  # noqa: ARG005
    assert opt.lr == 0.25
    for value in (True, 1j, "1"):
        with pytest.raises(TypeError, match="lr: expected a finite number >= 0, got"):
            opt.lr = ZeroD(value)


def test_states_of_functions_are_positional():
    m, v = np.zeros(2), np.zeros(2)
    with pytest.raises(
        TypeError,
        match=r"^adam: expected states by position, adam\(param, grad, \*states, step=...\), "
        "got exp_avg=, exp_avg_sq=$",
    ):
        fs.functional.adam(np.ones(2), np.ones(2), exp_avg=m, exp_avg_sq=v, step=1)
