"""Schedules against those of torch and optax, and theirs as ours."""

import importlib.util
import math

import numpy as np
import pytest

import fusedstep as fs

optax = None
if all(importlib.util.find_spec(name) for name in ("jax", "optax")):
    import jax
    import optax

needs_optax = pytest.mark.skipif(optax is None, reason="optax is not installed (extra: peers)")


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
        (
            fs.schedules.MultiStep(0.3, [30, 80, 81]),
            "MultiStepLR",
            {"milestones": [30, 80, 81]},
        ),
        (
            fs.schedules.Polynomial(0.3, 150, power=2.5),
            "PolynomialLR",
            {"total_iters": 150, "power": 2.5},
        ),
        (
            fs.schedules.CosineRestarts(0.3, 20, final_lr=1e-4),
            "CosineAnnealingWarmRestarts",
            {"T_0": 20, "eta_min": 1e-4},
        ),
        (
            fs.schedules.CosineRestarts(0.3, 10, t_mul=2, final_lr=1e-4),
            "CosineAnnealingWarmRestarts",
            {"T_0": 10, "T_mult": 2, "eta_min": 1e-4},
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


def test_join_and_warmup_are_torchs_sequence():
    def make(lr_scheduler, optimizer):
        rising = lr_scheduler.LinearLR(optimizer, 0.25, 1.0, total_iters=20)
        falling = lr_scheduler.ExponentialLR(optimizer, 0.9)
        return lr_scheduler.SequentialLR(optimizer, [rising, falling], milestones=[20])

    expected = torch_rates(make, 0.3, 100)
    falling = fs.schedules.Exponential(0.3, 0.9)
    warmed = fs.schedules.Warmup(falling, 20, initial_lr=0.075)
    joined = fs.schedules.Join([fs.schedules.Warmup(0.3, 20, 0.075), falling], [20])
    for schedule in (warmed, joined):
        assert [schedule(step) for step in range(100)] == pytest.approx(expected, rel=1e-12)


OPTAX = {
    "multi step": (
        lambda o: o.piecewise_constant_schedule(0.3, {30: 0.1, 80: 0.1}),
        fs.schedules.MultiStep(0.3, [30, 80]),
    ),
    "polynomial": (
        lambda o: o.polynomial_schedule(0.3, 0.01, 2.5, 150),
        fs.schedules.Polynomial(0.3, 150, final_lr=0.01, power=2.5),
    ),
    "restarts": (
        lambda o: o.sgdr_schedule(
            [
                {"init_value": p, "peak_value": p, "warmup_steps": 0, "decay_steps": n}
                for p, n in ((0.4, 25), (0.2, 50), (0.1, 100), (0.05, 200))
            ]
        ),
        fs.schedules.CosineRestarts(0.4, 25, t_mul=2.0, m_mul=0.5),
    ),
    "warm-up, stable, decay": (
        lambda o: o.join_schedules(
            [
                o.linear_schedule(0.0, 0.3, 10),
                o.constant_schedule(0.3),
                o.linear_schedule(0.3, 0.01, 50),
            ],
            [10, 130],
        ),
        fs.schedules.WarmupStableDecay(0.3, 180, 50, 10, final_lr=0.01),
    ),
    "join": (
        lambda o: o.join_schedules(
            [o.exponential_decay(0.3, 1, 0.9), o.cosine_decay_schedule(0.2, 50)], [30]
        ),
        fs.schedules.Join([fs.schedules.Exponential(0.3, 0.9), fs.schedules.Cosine(0.2, 50)], [30]),
    ),
}


@needs_optax
@pytest.mark.parametrize(("make", "schedule"), OPTAX.values(), ids=OPTAX)
def test_agrees_with_optax(make, schedule):
    with jax.enable_x64(True):
        theirs = make(optax)
        expected = [float(theirs(step)) for step in range(201)]
    assert [schedule(step) for step in range(201)] == pytest.approx(expected, rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("decay_type", ["linear", "cosine", "1-sqrt"])
def test_warmup_stable_decay_is_hugging_faces(decay_type):
    """get_wsd_schedule, whose factor multiplies the rate."""
    schedule = fs.schedules.WarmupStableDecay(0.3, 100, 40, 20, 0.03, decay_type)
    for step in range(120):
        x = min(max(step - 60, 0) / 40, 1.0)
        factor = {
            "linear": 1 - x,
            "cosine": 0.5 * (1 + math.cos(math.pi * x)),
            "1-sqrt": 1 - x**0.5,
        }
        decayed = factor[decay_type] * (1 - 0.1) + 0.1
        expected = 0.3 * (step / 20 if step < 20 else decayed)
        assert schedule(step) == pytest.approx(expected, rel=1e-12)


@needs_optax
def test_a_schedule_of_optax_as_lr():
    w = np.zeros(3)
    opt = fs.SGD(w, lr=optax.cosine_decay_schedule(0.1, 100))
    for step in range(3):
        assert opt.lr == pytest.approx(fs.schedules.Cosine(0.1, 100)(step), rel=1e-6)
        opt.step(np.ones(3))
    assert w[0] == pytest.approx(-0.3, rel=1e-2)
    within = fs.schedules.Warmup(optax.cosine_decay_schedule(0.1, 100), 10)
    assert within(60) == pytest.approx(0.05, rel=1e-6)
