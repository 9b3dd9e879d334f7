"""What a first-time user gets wrong is refused, in words that say what to do instead."""

import copy
import pickle

import numpy as np
import pytest

import fusedstep as fs


@pytest.mark.parametrize(
    ("names", "error", "words"),
    [
        (("a", "c"), ValueError, r"no parameter is named 'c'; there are a, b$"),
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
        (
            "learning_rate",
            r"there is no option 'learning_rate' \(here: lr\); there are lr, momentum,",
        ),
        ("history", r"there is no option 'history'; there are lr, momentum, "),
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


class Counting(fs.Adam):
    """A rule with something of its own, as a user writes it."""

    def __init__(self, params, **options):
        self.history = []
        super().__init__(params, **options)


def test_subclasses_have_attributes_of_their_own():
    opt = Counting(np.ones(3))
    opt.history.append(opt.lr)
    opt.best = 0.5
    assert (opt.history, opt.best) == ([1e-3], 0.5)
    for name in ("weight_decay", "ema_decay"):
        with pytest.raises(AttributeError, match=rf"^Counting.{name} cannot be set: .*{name}"):
            setattr(opt, name, 0.5)


def test_a_result_is_true_where_the_step_was_applied():
    opt = fs.SGD(np.ones(2), skip_nonfinite=True)
    assert not opt.step(np.array([np.nan, 1.0]))
    assert opt.step(np.ones(2))
    assert fs.SGD(np.ones(2)).step(np.ones(2))


class DeviceArray:
    """A number on a device, as Numba has it: without a truth value of its own."""

    def __init__(self, value):
        self.value = value

    def __len__(self):
        raise IndexError

    def copy_to_host(self):
        return np.array(self.value)


@pytest.mark.parametrize("array", [np.array, DeviceArray])
def test_results_on_a_device_have_the_truth_of_their_array(array):
    assert fs.StepResult(array(True), array(1.0))
    assert not fs.StepResult(array(False), array(1.0))


def test_state_is_written_into_not_replaced():
    opt = fs.Adam({"w": np.ones(3)})
    with pytest.raises(TypeError, match="does not support item assignment"):
        opt.state["w"]["exp_avg"] = np.ones(3)
    opt.state["w"]["exp_avg"][...] = 1.0
    assert np.all(opt.state["w"]["exp_avg"] == 1.0)


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (fs.Adam, "m", r"'m' \(here: exp_avg\); there are step, exp_avg, exp_avg_sq"),
        (fs.Adam, "v", r"'v' \(here: exp_avg_sq\); "),
        (fs.Adam, "momentum_buffer", r"'momentum_buffer'; "),
        (fs.RMSprop, "nu", r"'nu' \(here: square_avg\); there are step, square_avg"),
        (fs.Adagrad, "accumulator", r"'accumulator' \(here: sum\); "),
        (fs.Adam, "exp_avgs", r"'exp_avgs' \(did you mean exp_avg\?\); "),
    ],
)
def test_state_by_the_names_of_others(make, name, words):
    state = make({"w": np.ones(3)}).state
    with pytest.raises(KeyError, match=f"no state is named {words}"):
        state["w"][name]
    assert name not in state["w"]
    assert state["w"].get(name) is None


def test_state_of_a_parameter_that_is_not_there():
    state = fs.Adam({"enc.w": np.ones(3), "b": np.ones(2)}).state
    words = r"no parameter is named 'encw' \(did you mean enc.w\?\); there are enc.w, b"
    with pytest.raises(KeyError, match=words):
        state["encw"]
    with pytest.raises(KeyError, match="no parameter is named <ndarray of float64"):
        state[np.ones(9)]


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
    words = (
        r"^gradients: no parameter is named 'enc\.v' \(did you mean enc\.w\?\); "
        r"there are enc\.w, head\.w$"
    )
    with pytest.raises(ValueError, match=words):
        opt.step({"enc.v": np.ones(2), "head.w": np.ones(2)})


def test_names_in_a_message_are_not_endless():
    opt = fs.Adam([np.ones(1) for _ in range(30)])
    with pytest.raises(ValueError, match=r"there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, \.\.\.$"):
        opt.step({"w": np.ones(1)})
    nest = fs.Adam({"a": {"w": np.ones(1)}})
    with pytest.raises(ValueError, match=r"^gradients\['a'\]: no entry is named 'v'; there are w$"):
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


@pytest.mark.parametrize(
    ("make", "name", "meant"),
    [
        *(
            (make, name, "lr")
            for make in (fs.Adam, fs.SGD, fs.Rprop)
            for name in ("learning_rate", "alpha", "eta")
        ),
        (fs.Adam, "epsilon", "eps"),
        *((fs.Adam, name, "betas[0]") for name in ("beta_1", "beta1", "b1", "momentum")),
        *((fs.Lion, name, "betas[1]") for name in ("beta_2", "beta2", "b2", "rho")),
        (fs.Adan, "beta_3", "betas[2]"),
        (fs.SGD, "beta_1", "momentum"),
        (fs.Momentum, "momentum", "beta"),
        (fs.RMSprop, "rho", "alpha"),
        (fs.Adam, "clipnorm", "max_grad_norm"),
        (fs.Adam, "clipvalue", "max_grad_value"),
        (fs.Adam, "decay", "weight_decay or a schedule as lr: fs.schedules"),
        (fs.Adagrad, "decay", "weight_decay or lr_decay or a schedule as lr: fs.schedules"),
        (fs.Adam, "fused", "not needed: leave it out"),
    ],
)
def test_options_by_the_names_of_others(make, name, meant):
    """What was wrong comes first, then what it is here, then all that there is."""
    with pytest.raises(TypeError) as caught:
        make(np.ones(3), **{name: 0.5})
    start = f"{make.__name__}: got '{name}' (here: {meant}); expected options among lr, "
    assert str(caught.value).startswith(start)


def test_misspelt_options():
    for name, meant in (("weigth_decay", "weight_decay"), ("Lr", "lr"), ("skip_nonfinit", None)):
        with pytest.raises(TypeError) as caught:
            fs.Adam(np.ones(3), **{name: 0.5})
        guess = f"Adam: got '{name}' (did you mean {meant or 'skip_nonfinite'}?); expected "
        assert str(caught.value).startswith(guess)


def test_the_learning_rate_before_the_parameters():
    params = [np.ones((100, 100)) for _ in range(100)]
    for rate in (1e-3, 1, fs.schedules.Constant(0.1)):
        with pytest.raises(TypeError) as caught:
            fs.Adam(rate, params)
        assert "they come first, Adam(params, lr=...)" in str(caught.value)
        assert len(str(caught.value)) < 200


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


def test_functions_are_made_once():
    for rule in fs.available():
        assert getattr(fs.functional, rule) is getattr(fs.functional, rule)
