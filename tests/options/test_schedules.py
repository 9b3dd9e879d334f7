"""Schedules against torch, against closed forms worked by hand, and against wrong arguments."""

import itertools
import math
import pickle
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs

# One of each: a schedule that is added to the module and not here fails test_every_schedule_is_here.
EXAMPLES = {
    "Constant": fs.schedules.Constant(1e-3),
    "Step": fs.schedules.Step(0.1, step_size=30),
    "Exponential": fs.schedules.Exponential(0.1, gamma=0.97),
    "Cosine": fs.schedules.Cosine(1e-3, total_steps=100, warmup_steps=10, final_lr=1e-5),
    "Linear": fs.schedules.Linear(1e-3, total_steps=100, warmup_steps=10, final_lr=1e-5),
    "OneCycle": fs.schedules.OneCycle(0.1, total_steps=100),
    "InverseSquareRoot": fs.schedules.InverseSquareRoot(1e-3, warmup_steps=20),
}
every_schedule = pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)


def test_every_schedule_is_here():
    assert sorted(EXAMPLES) == sorted(fs.schedules.__all__)


@every_schedule
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
    rest = {field.name: getattr(schedule, field.name) for field in fields(schedule)[1:]}
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


def torch_rates(make_scheduler, lr, steps):
    torch = pytest.importorskip("torch", reason="torch's own schedulers are the truth here")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr, momentum=0.9)
    scheduler = make_scheduler(torch.optim.lr_scheduler, optimizer)
    rates = []
    for _ in range(steps):
        rates.append(float(optimizer.param_groups[0]["lr"]))
        optimizer.step()  # torch warns where the scheduler is stepped first
        scheduler.step()
    return rates


# Where pct_start * total == 1 torch divides 0 by 0.
@pytest.mark.parametrize(
    ("total", "pct_start"),
    [
        (total, pct_start)
        for total in (1, 2, 3, 4, 7, 10, 100, 1000)
        for pct_start in (0.0, 0.05, 0.3, 0.5, 0.9)
        if pct_start * total != 1
    ],
)
def test_one_cycle_has_torchs_bits(total, pct_start):
    schedule = fs.schedules.OneCycle(0.3, total, pct_start, div_factor=10.0, final_div_factor=77.0)
    expected = torch_rates(
        lambda lr_scheduler, optimizer: lr_scheduler.OneCycleLR(
            optimizer, 0.3, total, pct_start=pct_start, div_factor=10.0, final_div_factor=77.0
        ),
        0.3,
        total,
    )
    assert [schedule(step) for step in range(total)] == expected
    assert schedule(total) == schedule(total + 99) == expected[-1] == 0.3 / 10.0 / 77.0


def test_one_cycle_with_its_peak_at_the_first_step():
    schedule = fs.schedules.OneCycle(1.0, total_steps=2, pct_start=0.5)
    assert schedule(0) == 1.0
    assert schedule(1) == 1.0 / 25.0 / 1e4


# torch computes these step by step from the rate before, so its rounding errors add up.
@pytest.mark.parametrize(
    ("schedule", "name", "arguments"),
    [
        (fs.schedules.Step(0.3, 30), "StepLR", {"step_size": 30}),
        (fs.schedules.Exponential(0.3, 0.97), "ExponentialLR", {"gamma": 0.97}),
        (
            fs.schedules.Cosine(0.3, 200, final_lr=1e-4),
            "CosineAnnealingLR",
            {"T_max": 200, "eta_min": 1e-4},
        ),
        (
            fs.schedules.Linear(0.3, 200, final_lr=0.03),
            "LinearLR",
            {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 200},
        ),
    ],
)
def test_agrees_with_torch(schedule, name, arguments):
    expected = torch_rates(
        lambda lr_scheduler, optimizer: getattr(lr_scheduler, name)(optimizer, **arguments),
        0.3,
        201,
    )
    assert [schedule(step) for step in range(201)] == pytest.approx(expected, rel=1e-12)
