"""Schedules against closed forms worked by hand, and against wrong arguments."""

import inspect
import itertools
import math
import pickle
import pydoc
import re
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fusedstep as fs
from fusedstep._docstring import described
from schedule_examples import EXAMPLES

every_schedule = pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
every_value = pytest.mark.parametrize(  # all that are defined by their parameters
    "schedule",
    [schedule for name, schedule in EXAMPLES.items() if name != "Plateau"],
    ids=[name for name in EXAMPLES if name != "Plateau"],
)


def test_every_schedule_is_here():
    assert sorted(EXAMPLES) == sorted(fs.schedules.__all__)


def test_help_shows_schedules_and_not_how_they_are_made():
    text = pydoc.plain(pydoc.render_doc(fs.schedules))
    for name in fs.schedules.__all__:
        cls = getattr(fs.schedules, name)
        (part,) = re.findall(
            rf"^    class {name}\(.*?(?=^    class |^[A-Z])", text, re.MULTILINE | re.DOTALL
        )
        assert f"     |  {name}(" in part  # the signature
        assert [*described(inspect.getdoc(cls))] == [*inspect.signature(cls).parameters]
        lines = [line.strip(" |") for line in part.splitlines()]
        assert "Parameters" in lines
        assert "Examples" in lines
    methods = set(re.findall(r"^     \|  (\w+)\(self", text, re.MULTILINE))
    assert methods == {"__call__", "update", "state_dict", "load_state_dict"}
    assert not re.search(r"__(?!call__|init__.py)\w+__|dataclass|Data and other", text)


@every_value
def test_depends_on_the_step_alone_and_survives_pickling(schedule):
    forwards = [schedule(step) for step in range(200)]
    backwards = [schedule(step) for step in reversed(range(200))]
    assert forwards == backwards[::-1]
    assert {type(rate) for rate in forwards} == {float}

    copy = pickle.loads(pickle.dumps(schedule))
    assert copy == schedule
    assert hash(copy) == hash(schedule)
    assert [copy(step) for step in range(200)] == forwards


@every_schedule
def test_is_frozen(schedule):
    name = fields(schedule)[0].name
    with pytest.raises(FrozenInstanceError):
        setattr(schedule, name, 1.0)


@every_schedule
def test_takes_numpy_integers_and_refuses_what_is_no_step(schedule):
    name = type(schedule).__name__
    assert schedule(np.int32(7)) == schedule(7)
    with pytest.raises(ValueError, match=f"^{name}: step: expected an integer >= 0, got -1$"):
        schedule(-1)
    for wrong in (1.0, "1", None, True, np.float64(1)):
        with pytest.raises(TypeError, match=f"^{name}: step: expected an integer >= 0, got"):
            schedule(wrong)


@every_schedule
def test_refuses_rates_that_are_none(schedule):
    cls, rate = type(schedule), fields(schedule)[0].name
    if rate == "schedules":  # a list, of which below
        return
    own = [field for field in fields(schedule)[1:] if field.init]
    rest = {field.name: getattr(schedule, field.name) for field in own}
    for wrong in (math.nan, math.inf, -1e-9):
        with pytest.raises(ValueError, match=f"{rate}: expected a finite number >= 0, got {wrong}"):
            cls(wrong, **rest)
    for wrong in (True, "0.1", None, 1j, np.ones(1)):
        with pytest.raises(TypeError, match=f"{rate}: expected a finite number >= 0, got"):
            cls(wrong, **rest)


@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        (
            "Step",
            {"lr": 1, "step_size": 0},
            ValueError,
            "step_size: expected an integer >= 1, got 0",
        ),
        ("Step", {"lr": 1, "step_size": 2.0}, TypeError, "step_size: .* >= 1, got 2.0"),
        ("Step", {"lr": 1, "step_size": 2, "gamma": 0}, ValueError, "gamma: .* > 0, got 0"),
        ("Exponential", {"lr": 1, "gamma": -0.9}, ValueError, "gamma: .* > 0, got -0.9"),
        ("Exponential", {"lr": 1, "gamma": math.inf}, ValueError, "gamma: .* > 0, got inf"),
        ("Cosine", {"lr": 1, "total_steps": 0}, ValueError, "total_steps: .* >= 1, got 0"),
        ("Cosine", {"lr": 1, "total_steps": True}, TypeError, "total_steps: .* got True"),
        (
            "Cosine",
            {"lr": 1, "total_steps": 9, "warmup_steps": -1},
            ValueError,
            "warmup_steps: expected an integer >= 0, got -1",
        ),
        (
            "Cosine",
            {"lr": 1, "total_steps": 9, "warmup_steps": 9},
            ValueError,
            "warmup_steps: expected fewer than total_steps = 9, got 9",
        ),
        (
            "Cosine",  # Keras's alpha, a fraction, taken for a rate
            {"lr": 1e-3, "total_steps": 9, "final_lr": 0.1},
            ValueError,
            r"final_lr: expected a rate <= lr = 0.001 \(not a fraction of it\), got 0.1",
        ),
        (
            "Linear",
            {"lr": 1, "total_steps": 9, "warmup_steps": 9},
            ValueError,
            "warmup_steps: expected fewer than total_steps = 9, got 9",
        ),
        (
            "OneCycle",
            {"max_lr": 1, "total_steps": 9, "pct_start": 1},
            ValueError,
            r"pct_start: expected a number in \[0, 1\), got 1",
        ),
        (
            "OneCycle",
            {"max_lr": 1, "total_steps": 9, "div_factor": 0},
            ValueError,
            "div_factor: .* 0",
        ),
        ("InverseSquareRoot", {"lr": 1, "warmup_steps": 0}, ValueError, "warmup_steps: .* got 0"),
        (
            "MultiStep",
            {"lr": 1, "milestones": 30},
            TypeError,
            "milestones: .* list of int.* got 30",
        ),
        ("MultiStep", {"lr": 1, "milestones": "30"}, TypeError, "milestones: .* got '30'"),
        ("MultiStep", {"lr": 1, "milestones": [1.5]}, TypeError, r"milestones\[0\]: .* got 1.5"),
        ("MultiStep", {"lr": 1, "milestones": [0, 3]}, ValueError, r"milestones\[0\]: .* 1, got 0"),
        (
            "MultiStep",
            {"lr": 1, "milestones": [30, 30]},
            ValueError,
            "milestones: expected increasing integers, got 30 before 30",
        ),
        ("Polynomial", {"lr": 1, "total_steps": 9, "power": 0}, ValueError, "power: .* > 0, got 0"),
        ("Polynomial", {"lr": 1, "total_steps": 9, "final_lr": 2}, ValueError, "final_lr: .* 2.0"),
        (
            "WarmupStableDecay",
            {"lr": 1, "total_steps": 9, "decay_steps": 5, "warmup_steps": 5},
            ValueError,
            r"decay_steps: expected warmup_steps \+ decay_steps <= total_steps = 9, got 5 \+ 5",
        ),
        (
            "WarmupStableDecay",
            {"lr": 1, "total_steps": 9, "decay_steps": 5, "decay_type": "sqrt"},
            ValueError,
            "decay_type: expected 'linear' or 'cosine' or '1-sqrt', got 'sqrt'",
        ),
        (
            "CosineRestarts",
            {"lr": 1, "first_decay_steps": 5, "t_mul": 0.5},
            ValueError,
            "t_mul: expected a finite number >= 1, got 0.5",
        ),
        (
            "CosineRestarts",
            {"lr": 1, "first_decay_steps": 5, "m_mul": 0},
            ValueError,
            "m_mul: .* 0",
        ),
        ("Join", {"schedules": [], "boundaries": []}, ValueError, "schedules: .* at least one"),
        ("Join", {"schedules": 0.1, "boundaries": []}, TypeError, "schedules: .* got 0.1"),
        ("Join", {"schedules": [1, "x"], "boundaries": [1]}, TypeError, r"schedules\[1\]: .* 'x'"),
        ("Join", {"schedules": [1, -1], "boundaries": [1]}, ValueError, r"schedules\[1\]: .* -1"),
        (
            "Join",
            {"schedules": [1, 2], "boundaries": [1, 2]},
            ValueError,
            "boundaries: expected 1, one between each two schedules, got 2",
        ),
        (
            "Join",
            {"schedules": [1, 2, 3], "boundaries": [5, 4]},
            ValueError,
            "boundaries: .* 5 bef",
        ),
        ("Warmup", {"schedule": 1, "warmup_steps": 0}, ValueError, "warmup_steps: .* got 0"),
        (
            "Warmup",
            {"schedule": 1, "warmup_steps": 1, "initial_lr": -1},
            ValueError,
            "initial_lr: ",
        ),
        ("Plateau", {"lr": 1, "mode": "auto"}, ValueError, "mode: .* 'min' or 'max', got 'auto'"),
        ("Plateau", {"lr": 1, "factor": 1}, ValueError, r"factor: .* in \(0, 1\), got 1"),
        ("Plateau", {"lr": 1, "patience": -1}, ValueError, "patience: .* >= 0, got -1"),
        ("Plateau", {"lr": 1, "threshold": -1}, ValueError, "threshold: .* >= 0, got -1"),
        ("Plateau", {"lr": 1, "threshold_mode": 1}, ValueError, "threshold_mode: .* 'abs', got 1"),
        ("Plateau", {"lr": 1, "cooldown": 0.5}, TypeError, "cooldown: .* got 0.5"),
    ],
)
def test_refuses_wrong_parameters(name, arguments, error, message):
    with pytest.raises(error, match=f"^{name}: {message}"):
        getattr(fs.schedules, name)(**arguments)


def test_parameters_become_python_numbers():
    schedule = fs.schedules.Step(np.float32(0.5), step_size=np.int64(1), gamma=np.float16(0.5))
    assert repr(schedule) == "Step(lr=0.5, step_size=1, gamma=0.5)"
    assert type(schedule(3)) is float
    assert type(fs.schedules.Constant(1)(0)) is float


def test_a_growing_rate_ends_in_an_error_not_in_inf():
    growing = fs.schedules.Exponential(2.0, gamma=2.0)
    assert growing(1022) == 2.0**1023
    for step in (1023, 10_000):  # the product is inf; pow itself overflows
        with pytest.raises(OverflowError, match=f"gamma=2.0.*exceeds a double at step {step}$"):
            growing(step)


def test_step_drops_at_whole_multiples():
    schedule = fs.schedules.Step(1.0, step_size=3, gamma=0.5)
    assert [schedule(step) for step in range(8)] == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_cosine_by_hand():
    schedule = fs.schedules.Cosine(lr=2.0, total_steps=10, warmup_steps=4, final_lr=1.0)
    assert [schedule(step) for step in range(5)] == [0.0, 0.5, 1.0, 1.5, 2.0]
    # A third, a half and two thirds of half a turn: the cosines are 1/2, 0 and -1/2.
    assert [schedule(step) for step in (6, 7, 8)] == pytest.approx([1.75, 1.5, 1.25], rel=1e-15)
    assert [schedule(step) for step in (10, 11, 10**30)] == [1.0, 1.0, 1.0]


def test_linear_by_hand():
    schedule = fs.schedules.Linear(lr=2.0, total_steps=8, warmup_steps=4, final_lr=1.0)
    assert [schedule(step) for step in range(5)] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [schedule(step) for step in range(5, 10)] == [1.75, 1.5, 1.25, 1.0, 1.0]


@given(lr=st.floats(0, 1e3), total=st.integers(2, 1000), warmup=st.floats(0, 0.99))
def test_linear_is_hugging_faces(lr, total, warmup):
    """get_linear_schedule_with_warmup, whose factor multiplies the rate."""
    n = int(warmup * total)
    schedule = fs.schedules.Linear(lr, total, n)
    for step in (*range(0, total, max(1, total // 20)), n, total, total + 5):
        theirs = step / max(1, n) if step < n else max(0.0, (total - step) / max(1, total - n))
        assert schedule(step) == pytest.approx(lr * theirs, rel=1e-12)


def test_inverse_square_root_is_vaswanis():
    d_model, warmup = 512, 4000
    schedule = fs.schedules.InverseSquareRoot((d_model * warmup) ** -0.5, warmup)
    assert schedule(0) == 0.0
    for step in (1, 17, 3999, 4000, 4001, 16_000, 10**6):
        paper = d_model**-0.5 * min(step**-0.5, step * warmup**-1.5)
        assert schedule(step) == pytest.approx(paper, rel=1e-14)


@given(
    kind=st.sampled_from([fs.schedules.Cosine, fs.schedules.Linear]),
    lr=st.floats(0, 1e3),
    final=st.floats(0, 1),
    total=st.integers(2, 10_000),
    warmup=st.floats(0, 0.99),
)
def test_rises_then_falls_within_its_bounds(kind, lr, final, total, warmup):
    schedule = kind(lr, total, int(warmup * total), final * lr)
    steps = sorted({0, *range(0, total, max(1, total // 50)), schedule.warmup_steps, total})
    rates = {step: schedule(step) for step in steps}
    slack = 4 * math.ulp(lr)
    for (before, a), (_, b) in itertools.pairwise(rates.items()):
        assert (a <= b + slack) if before < schedule.warmup_steps else (b <= a + slack)
    assert max(rates.values()) == pytest.approx(lr, rel=1e-15)
    assert rates[total] == schedule.final_lr


def test_multi_step_drops_from_its_milestones_on():
    schedule = fs.schedules.MultiStep(1.0, np.array([3, 5]), gamma=0.5)
    assert [schedule(step) for step in range(7)] == [1, 1, 1, 0.5, 0.5, 0.25, 0.25]
    assert schedule == fs.schedules.MultiStep(1.0, (3, 5), 0.5)
    assert repr(schedule) == "MultiStep(lr=1.0, milestones=(3, 5), gamma=0.5)"
    assert fs.schedules.MultiStep(1.0, [])(10**9) == 1.0


@pytest.mark.parametrize(
    ("decay_type", "middle"), [("linear", 1.5), ("cosine", 1.5), ("1-sqrt", 2 - math.sqrt(0.5))]
)
def test_warmup_stable_decay_by_hand(decay_type, middle):
    schedule = fs.schedules.WarmupStableDecay(2.0, 20, 8, 4, final_lr=1.0, decay_type=decay_type)
    assert [schedule(step) for step in range(5)] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert {schedule(step) for step in range(4, 13)} == {2.0}
    assert schedule(13) < 2.0
    assert schedule(16) == pytest.approx(middle, rel=1e-15)
    assert {schedule(step) for step in (20, 21, 10**30)} == {1.0}


@given(
    first=st.integers(1, 50),
    t_mul=st.one_of(st.integers(1, 5), st.floats(1, 5)),
    cycles=st.integers(1, 6),
)
@example(first=10, t_mul=1.9, cycles=3)  # the third begins at 29
def test_restarts_are_where_they_should_be(first, t_mul, cycles):
    schedule = fs.schedules.CosineRestarts(1.0, first, t_mul)
    start = 0.0
    for cycle in range(cycles):
        length = first * float(t_mul) ** cycle
        step = math.ceil(start)
        fraction = (step - start) / length
        if abs(start - round(start)) > 1e-6 or start == round(start) == step:
            expected = 0.5 * (1 + math.cos(math.pi * fraction))
            assert schedule(step) == pytest.approx(expected, rel=1e-6)
        start += length


def test_restarts_of_many_cycles_are_exact():
    assert fs.schedules.CosineRestarts(1.0, 7)(7 * 10**15) == 1.0
    doubling = fs.schedules.CosineRestarts(1.0, 1, t_mul=2)
    assert [doubling(2**n - 1) for n in range(50)] == [1.0] * 50
    assert all(doubling(2**n - 2) < 1e-3 for n in range(10, 50))


def test_join_counts_from_each_boundary():
    schedule = fs.schedules.Join([lambda step: step, 0.5, fs.schedules.Step(1, 1, 0.5)], [3, 5])
    assert [schedule(step) for step in range(8)] == [0.0, 1.0, 2.0, 0.5, 0.5, 1.0, 0.5, 0.25]
    assert fs.schedules.Join([0.5], [])(9) == 0.5


def test_warmup_rises_to_the_first_rate():
    schedule = fs.schedules.Warmup(fs.schedules.Step(2.0, 2, 0.5), 4, initial_lr=1.0)
    assert [schedule(step) for step in range(8)] == [1.0, 1.25, 1.5, 1.75, 2.0, 2.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [-1.0, math.nan, None, "x"])
def test_the_rates_of_parts_are_checked(bad):
    for schedule, where in (
        (fs.schedules.Join([0.1, lambda _: bad], [2]), r"Join: schedules\[1\], at its step 3"),
        (fs.schedules.Warmup(lambda _: bad, 2), "Warmup: schedule, at its step 3"),
        (fs.schedules.Plateau(lambda _: bad), "Plateau: lr, at its step 5"),
    ):
        with pytest.raises((TypeError, ValueError), match=f"^{where}: expected a finite number"):
            schedule(5)
