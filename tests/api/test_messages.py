"""Messages are short and can be printed, whatever was passed."""

import copy

import numpy as np
import pytest

import fusedstep as fs
from cases import RULES, every_rule, state_shape
from fusedstep._definition import registry
from interpreters import python
from optimizers import richest, running, states_of

LONGEST = 2000  # characters of a message
ODD_NAME = "a\0\udc80\n\u202e"  # NUL, a lone surrogate, and others that do not print


class Loud:
    """Its repr would fill a screen, or a disk."""

    def __repr__(self):
        return "loud\n" * 100_000 + ODD_NAME


class Broken:
    """It cannot be shown at all."""

    def __repr__(self):
        raise RuntimeError("x" * 100_000)


ODD = {
    "list": [0.1] * 10_000,
    "nest": [[np.ones(1000)] * 10] * 10,
    "dict": {str(i): i for i in range(10_000)},
    "array": np.ones(100_000),
    "object array": np.array([Loud(), 10**5000], object),
    "long text": "x" * 100_000,
    "odd text": ODD_NAME,
    "long odd text": ODD_NAME * 100_000,
    "integer": 10**5000,
    "loud": Loud(),
    "broken": [Broken()],
    "complex": 1j,
}
every_odd_value = pytest.mark.parametrize("which", ODD)


def heard(call):
    """The message of what a call raises, which anyone can read; empty where it raises nothing."""
    error = None
    try:
        call()
    except Exception as caught:  # noqa: BLE001
        error = caught
    message = "" if error is None else str(error)
    assert not isinstance(error, UnicodeError)
    assert len(message) < LONGEST
    assert "\0" not in message
    message.encode()
    return message


@every_rule
@every_odd_value
def test_odd_options(rule, which):
    odd = ODD[which]
    opt, param = fs.create(rule, np.ones(3)), np.ones(3)
    states = [np.zeros(state_shape(rule, (3,))) for _ in states_of(rule, {})]
    for name in registry[rule].options:
        options = {name: odd}
        for call in (
            lambda: fs.create(rule, param, **options),  # noqa: B023 - called at once
            lambda: fs.create(rule, [{"params": param, **options}]),  # noqa: B023
            lambda: opt.groups[0].update(options),  # noqa: B023
            lambda: getattr(fs.functional, rule)(param, param, *states, step=1, **options),  # noqa: B023
        ):
            assert heard(call).startswith((f"{name}: expected ", "")[which == "integer"])


@every_rule
def test_odd_names_of_options(rule):
    opt = fs.create(rule, np.ones(3))
    for odd in (ODD_NAME, "x" * 100_000, *(f"{ODD_NAME}{i}" for i in range(3))):
        options = dict.fromkeys([odd, *(f"{odd}{i}" for i in range(1000))], 0.5)
        for call in (
            lambda: fs.create(rule, np.ones(3), **options),  # noqa: B023
            lambda: fs.create(rule, [{"params": np.ones(3), **options}]),  # noqa: B023
            lambda: opt.groups[0].update(options),  # noqa: B023
        ):
            assert "expected options among lr, " in heard(call)
        assert "cannot be set: there is no option" in heard(lambda: setattr(opt, odd, 1))  # noqa: B023


def wide():
    """An optimizer of many arrays."""
    return fs.SGD({f"layer{i}.weight": np.ones(1) for i in range(5_000)})


@pytest.fixture(scope="module")
def many():
    return wide()


@every_odd_value
def test_odd_values_elsewhere(which, many):
    odd = ODD[which]
    one = fs.Adam({"w": np.ones((2, 2), np.float32)}, ema_decay=0.5)
    average = fs.EMA({"w": np.ones(3)})
    saved, saved_average = one.state_dict(), average.state_dict()
    calls = [
        *(lambda o=o: o.step(odd) for o in (one, many)),
        lambda: one.step({"w": odd}),
        lambda: one.step([odd]),
        lambda: one.step(np.ones((2, 2), np.float32), grad_scale=odd),
        lambda: one.step(np.ones((2, 2), np.float32), zero_grads=odd),
        *(lambda o=o: o.bind(odd) for o in (one, many)),
        lambda: one.step_mean(odd),
        lambda: one.step_sum([odd]),
        lambda: one.step_mean([{}], weights=odd),
        lambda: one.step_mean([{}], weights=[odd]),
        lambda: one.step_rows(odd, [0], np.ones((1, 2), np.float32)),
        lambda: one.step_rows("w", odd, np.ones((1, 2), np.float32)),
        lambda: one.step_rows("w", [0], odd),
        *(lambda o=o: o.freeze(odd) for o in (one, many)),
        lambda: many.unfreeze("layer0.wieght", odd),
        lambda: one.add_group(odd),
        lambda: one.add_group({"params": odd}),
        lambda: one.add_group({"params": {"v": np.ones(1)}}, odd),
        lambda: setattr(one, "lr", odd),
        lambda: setattr(one, "weight_decay", odd),
        lambda: setattr(one, "lr", lambda _: odd),
        lambda: one.step(np.ones((2, 2), np.float32)),
        *(lambda o=o: o.state[odd] for o in (one, many)),
        lambda: one.state["w"][odd],
        lambda: one.ema[odd],
        lambda: one.load_state_dict(odd),
        *(lambda key=key: one.load_state_dict({**saved, key: odd}) for key in saved),
        lambda: one.load_state_dict({**saved, "state": {"w": odd}}),
        lambda: one.load_state_dict({**saved, "state": {"w": {"step": odd, "exp_avg": odd}}}),
        lambda: one.load_state_dict({**saved, "groups": [odd]}),
        lambda: one.load_state_dict({**saved, "groups": [{"params": odd, "lr": odd}]}),
        lambda: fs.create(odd, np.ones(3)),
        lambda: fs.available(odd),
        lambda: fs.Adam(odd),
        lambda: fs.Adam({"w": odd}),
        lambda: fs.Adam({ODD_NAME: odd}),
        lambda: fs.Adam([odd]),
        lambda: fs.Adam([{"params": odd}]),
        lambda: fs.Adam(1e-3, odd),
        *(
            lambda name=name: fs.Adam({"w": np.ones(3, np.float32)}, **{name: odd})
            for name in fs._pipeline.Pipeline.__annotations__
        ),
        lambda: fs.Adam({"w": np.ones(3, np.float32)}, working_copy={"w": odd}),
        lambda: fs.EMA(odd),
        lambda: fs.EMA(np.ones(3), decay=odd),
        lambda: fs.EMA(np.ones(3), init=odd),
        lambda: average.update(odd),
        lambda: average.update({"w": odd}),
        lambda: average[odd],
        lambda: average.load_state_dict(odd),
        *(lambda k=k: average.load_state_dict({**saved_average, k: odd}) for k in saved_average),
        lambda: fs.functional.adam(odd, odd, odd, odd, step=1),
        lambda: fs.functional.sgd(np.ones(3), np.ones(3), step=odd),
        lambda: fs.set_num_threads(odd),
        lambda: fs.show_config(odd),
        lambda: fs.schedules.Constant(odd),
        lambda: fs.schedules.Cosine(odd, odd),
        lambda: fs.data.MiniBatches(odd, odd),
        lambda: fs.data.MiniBatches(np.ones(3), batch_size=odd),
        lambda: fs.data.Standardizer().fit(odd),
    ]
    assert max(len(heard(call)) for call in calls) < LONGEST


def test_a_typo_among_many_names(many):
    typo = "layer7.wieght"
    for call in (
        lambda: many.freeze(typo),
        lambda: many.step({typo: np.ones(1)}),
        lambda: many.step_rows(typo, [0], np.ones(1)),
        lambda: many.state[typo],
        lambda: fs.SGD(dict(many.params), working_copy={typo: np.ones(1)}),
        lambda: many.step({f"{typo}{i}": np.ones(1) for i in range(5_000)}),
    ):
        message = heard(call)
        assert f"no parameter is named '{typo}" in message
        assert "there are layer0.weight, layer1.weight, " in message
        assert message.rstrip("'\"").endswith("...")


def test_differences_of_many_names(many):
    saved = copy.copy(many.state_dict())
    saved["state"] = {f"model.{name}": own for name, own in saved["state"].items()}
    message = heard(lambda: many.load_state_dict(saved))
    assert message.startswith("state_dict does not fit this SGD:\n  parameter 'layer0.weight': ")


ODD_NAMES = {  # and how each begins in a message
    ODD_NAME: r"a\x00\udc80\n\u202e'",
    "b\tc": r"b\tc'",
    "d\x7fe": r"d\x7fe'",
    "n" * 100_000: "n" * 50,
}


def test_names_that_do_not_print():
    w = {name: np.ones((3, 2), np.float32) for name in ODD_NAMES}
    opt = fs.Adam(w)
    opt.step({name: np.ones_like(p) for name, p in w.items()})
    assert list(opt.params) == list(opt.state) == list(w)
    other = fs.Adam(w)
    other.load_state_dict(opt.state_dict())
    opt.step_rows(ODD_NAME, [0], np.ones((1, 2), np.float32))
    opt.freeze(*w)
    opt.unfreeze(*w)
    for name, p in w.items():
        start = ODD_NAMES[name]
        for call in (
            lambda: opt.step({name: np.ones(7, np.float32)}),  # noqa: B023
            lambda: opt.step({name: p}),  # noqa: B023
            lambda: opt.step_rows(name, [99], np.ones((1, 2), np.float32)),  # noqa: B023
            lambda: fs.Adam({name: np.ones(3)[::2]}),  # noqa: B023
            lambda: fs.Adam({name: p, "same": p}),  # noqa: B023
            lambda: fs.Adam({name: p}, eps=1e-60),  # noqa: B023
        ):
            assert f"'{start}" in heard(call)


@every_rule
def test_a_saved_state_under_odd_names(rule):
    opt = running(rule, "float32")
    saved = opt.state_dict()
    saved["state"] = {f"{name}{ODD_NAME}": own for name, own in saved["state"].items()}
    assert "unexpected" in heard(lambda: opt.load_state_dict(saved))
    assert rule in RULES
    assert richest(rule)


def test_gradients_of_another_dtype_are_told_how_to_become_one():
    opt = fs.Adam({"w": np.ones(3, np.float32)})
    message = heard(lambda: opt.step({"w": np.ones(3)}))
    assert message == (
        "gradient of 'w': expected dtype float32, bfloat16 or float16 beside its parameter of "
        "float32, got float64: use .astype(np.float32)"
    )


def test_an_average_has_no_parameters():
    average = fs.EMA({"w": np.ones(3), "v": np.ones(2)})
    flat = fs.EMA([np.ones(3), np.ones(2)])
    locked = average.state_dict()
    for call in (
        lambda: average.update({"w": np.ones(4)}),
        lambda: flat.update([np.ones(3)]),
        lambda: average.load_state_dict({**locked, "state": {}}),
        lambda: average["x"],
    ):
        message = heard(call)
        assert message
        assert "param" not in message


@pytest.mark.parametrize(
    "variable", ["FUSEDSTEP_ISA", "FUSEDSTEP_NUM_THREADS", "FUSEDSTEP_THREADING"]
)
def test_odd_environments(variable):
    for value in (b"\xff\xfe", b"x" * 100_000):
        done = python("import fusedstep", **{variable: value.decode(errors="surrogateescape")})
        last = done.stderr.splitlines()[-1]
        assert last.startswith(f"ImportError: {variable}: expected ")
        assert len(last) < LONGEST
