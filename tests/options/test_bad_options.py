"""Options that must be refused."""

import math

import numpy as np
import pytest

import fusedstep as fs
from cases import RULES, every_rule, option_sets, same_bits, state_shape
from fusedstep._definition import registry
from fusedstep._options import Choice, Count, Limit, Number, Numbers, Rate, Switch
from optimizers import NAMES, complains, numbers, refused, richest, running, states_of

# Values that an option of a kind must refuse, with the error.
NO_NUMBER = [
    *((value, ValueError) for value in (math.nan, math.inf, -math.inf, -1, -1e-300)),
    *((value, TypeError) for value in (True, "x", None, 1j, np.complex64(1), [0.1], (0.1,))),
    *((np.array(value), TypeError) for value in ([0.1, 0.2], [0.1], "x", True, None)),
]
NO_FRACTION = [*NO_NUMBER, (1.0, ValueError), (np.float32(1), ValueError), (2, ValueError)]
NO_LIMIT = [
    *((value, ValueError) for value in (math.nan, -math.inf, -1, 0, -1e-300)),
    *((value, TypeError) for value in (True, "x", 1j, [0.1], np.array([0.1, 0.2]), np.array(None))),
]
NO_SWITCH = [(value, TypeError) for value in (0, 1, None, "yes", 1.0, [True], np.array([True]))]
NO_COUNT = [
    *((value, ValueError) for value in (-1, np.int64(-1))),
    *((value, TypeError) for value in (True, "x", None, 1.0, 0.5, [1], np.array([1, 2]))),
]
NO_CHOICE = [
    *((value, ValueError) for value in ("", "x", "8 bits", "None", "Nearest", 0, 8, 33, None)),
    *((value, TypeError) for value in (True, 1.0, 32.0, ["split"], ("split",), np.array([1, 2]))),
]


def bad_values(kind):
    """Pairs of a value that options of this kind refuse, and the error."""
    if isinstance(kind, Rate):
        return NO_NUMBER
    if isinstance(kind, Number):
        bad = NO_NUMBER if kind.high == math.inf else NO_FRACTION
        return [*bad, (kind.low, ValueError)] if kind.above else bad
    if isinstance(kind, Limit):
        return NO_LIMIT
    if isinstance(kind, Switch):
        return NO_SWITCH
    if isinstance(kind, Count):
        return NO_COUNT
    if isinstance(kind, Choice):
        return [
            (value, error)
            for value, error in NO_CHOICE
            if repr(value) not in map(repr, kind.values)
        ]
    assert isinstance(kind, Numbers)
    fine = tuple(each.low + 0.5 for each in kind.each)
    return [
        *((value, TypeError) for value in (0.5, "x", None, np.array(fine), {*fine}, iter(fine))),
        *((value, ValueError) for value in ((), fine[1:], (*fine, 0.5))),
        *(
            ((*fine[:at], value, *fine[at + 1 :]), error)
            for at in range(kind.count)
            for value, error in bad_values(kind.each[at])
        ),
    ]


EVERY_OPTION = [(rule, option) for rule in RULES for option in registry[rule].options.values()]
every_option = pytest.mark.parametrize(
    ("rule", "option"), EVERY_OPTION, ids=[f"{rule}-{option.name}" for rule, option in EVERY_OPTION]
)


def constructions(rule, options):
    """Every way to hand `options` over with new parameters, and the arrays they would move."""
    params = numbers(1, "float32")
    plain, last = {n: params[n] for n in NAMES[:2]}, {"last": params["last"]}
    state = [np.zeros(state_shape(rule, (3, 5)), "float32") for _ in states_of(rule, {})]
    calls = [
        lambda: fs.create(rule, params, **options),
        lambda: registry[rule](params, **options),
        lambda: fs.create(rule, [{"params": plain, **options}, {"params": last}]),
        lambda: fs.create(rule, [{"params": plain}, {"params": last, **options}]),
        lambda: getattr(fs.functional, rule)(
            params["first"], params["last"], *state, step=1, **options
        ),
    ]
    return calls, [*params.values(), *state]


@every_option
def test_fault_12_bad_values(rule, option):
    opt = running(rule, "float32")
    for value, error in bad_values(option.kind):
        calls, arrays = constructions(rule, {option.name: value})
        before = [array.copy() for array in arrays]
        for call in calls:
            with pytest.raises(error) as caught:
                call()
            complains(caught, error, f"{option.name}", "expected", "got")
        assert all(same_bits(a, b) for a, b in zip(arrays, before, strict=True))
        with refused(opt, error, f"{option.name}", "expected", "got"):
            opt.groups[0][option.name] = value
        if option.name == "lr":
            with refused(opt, error, "lr: expected", "got"):
                opt.lr = value


@every_option
def test_values_are_converted_once(rule, option):
    if isinstance(option.kind, Switch):
        value = np.bool_(richest(rule)[option.name])
        fs.create(rule, numbers(1, "float32"), **{**richest(rule), option.name: value})
        return
    if isinstance(option.kind, (Choice, Count)):
        assert type(fs.create(rule, np.ones(3)).groups[0][option.name]) is type(option.default)
        return
    value = 2.0 if isinstance(option.kind, Limit) else richest(rule)[option.name]
    given = np.array(value)
    start = [np.array(number) for number in given] if given.ndim else given
    opt = fs.create(rule, numbers(1, "float32"), **{**richest(rule), option.name: start})
    before = opt.groups[0][option.name]
    for number in start if given.ndim else [start]:
        number[...] = 0.75
    assert opt.groups[0][option.name] == before
    assert {type(number) for number in np.ravel(before).tolist()} == {float}
    assert type(before) is (tuple if given.ndim else float)


@every_rule
def test_fault_12_options_that_the_rule_does_not_have(rule):
    every = {name for other in RULES for name in registry[other].options}
    opt = running(rule, "float32")
    for name in {*every, "clip_norm", "learning_rate", "parms"} - {*registry[rule].options}:
        calls, arrays = constructions(rule, {name: True})
        before = [array.copy() for array in arrays]
        for call in calls:
            with pytest.raises(TypeError) as caught:
                call()
            complains(caught, TypeError, f"'{name}'")
        assert all(same_bits(a, b) for a, b in zip(arrays, before, strict=True))
        with refused(opt, TypeError, f"'{name}'", "expected options among", "got"):
            opt.groups[0][name] = True


def test_unknown_rules():
    with pytest.raises(
        ValueError, match=r"^rule: got 'adm' \(did you mean adam\?\); expected one of .*adam, "
    ):
        fs.create("adm", [np.ones(2)])
    with pytest.raises(
        TypeError, match=r"^rule: expected a name .*, got \[.*: create\(name, params\)$"
    ):
        fs.create([np.ones(2)], "adam")
    with pytest.raises(AttributeError, match="adm"):
        _ = fs.functional.adm


def state_deciding():
    """Options that are one change away from others that need other state."""
    for rule in RULES:
        full = richest(rule)
        for options in option_sets(rule):
            changed = [name for name in options if options[name] != full[name]]
            if len(changed) == 1 and states_of(rule, options) != states_of(rule, full):
                yield rule, changed[0], options


@pytest.mark.parametrize(("rule", "name", "options"), [*state_deciding()])
def test_options_that_decide_which_state_there_is_are_fixed(rule, name, options):
    for given, wanted in [(richest(rule), options), (options, richest(rule))]:
        opt = fs.create(rule, numbers(1, "float32"), **given)
        fixed = " after construction: it decides which state there is"
        with refused(opt, ValueError, f"{name} cannot be changed", fixed):
            opt.groups[0][name] = wanted[name]
        saved = opt.state_dict()
        other = fs.create(rule, numbers(1, "float32"), **wanted)
        with refused(other, ValueError, f"group 0: {name} cannot be changed", fixed):
            other.load_state_dict(saved)
        assert other.groups[0][name] == wanted[name]


def test_an_integer_that_no_float_can_hold():
    with pytest.raises(ValueError, match="lr: expected a finite number >= 0, got 1000"):
        fs.SGD([np.ones(2)], lr=10**400)


def test_the_start_of_the_state_is_fixed():
    opt = fs.Adagrad({"w": np.ones(2)}, initial_accumulator_value=0.1)
    with refused(opt, ValueError, "initial_accumulator_value", "got 0.5"):
        opt.groups[0]["initial_accumulator_value"] = 0.5
    assert opt.state["w"]["sum"].tolist() == [0.1, 0.1]


def test_the_start_of_rprops_lengths_is_fixed():
    opt = fs.Rprop({"w": np.ones(2)}, lr=0.1)
    with refused(opt, ValueError, "lr: expected 0.1 as at construction", "got 0.5"):
        opt.lr = 0.5
    assert fs.Rprop([np.ones(2)], lr=lambda step: 0.5 + step).state["0"]["step_size"][0] == 0.5


def test_a_range_that_is_none():
    with pytest.raises(ValueError, match=r"step_sizes: expected .* <= .*, got \(2.0, 1.0\)"):
        fs.Rprop([np.ones(2)], step_sizes=(2, 1))


def test_the_start_of_the_state_is_the_groups_own():
    params = [{"params": {"a": np.ones(2)}}, {"params": {}, "initial_accumulator_value": 0.5}]
    assert fs.Adagrad(params).state["a"]["sum"].tolist() == [0.0, 0.0]


def test_nesterov_wants_momentum():
    for options in ({}, {"momentum": 0.9, "dampening": 0.1}):
        with pytest.raises(ValueError, match="nesterov: expected momentum > 0 and dampening = 0"):
            fs.SGD([np.ones(2)], nesterov=True, **options)
    opt = fs.SGD([np.ones(2)], momentum=0.9, nesterov=True)
    with refused(opt, ValueError, "nesterov: expected", "got momentum=0.9, dampening=0.5"):
        opt.groups[0]["dampening"] = 0.5


@pytest.mark.parametrize(
    ("bad", "error"),
    [(0, ValueError), (-1, ValueError), (4097, ValueError), (10**30, ValueError)]
    + [(bad, TypeError) for bad in (1.5, True, "2", None, np.float64(2))],
)
def test_bad_thread_counts(bad, error):
    before = fs.get_num_threads()
    for call in (fs.set_num_threads, lambda n: fs.num_threads(n).__enter__()):
        with pytest.raises(error, match=r"num_threads: expected an integer .*, got "):
            call(bad)
    assert fs.get_num_threads() == before
