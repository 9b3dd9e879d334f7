"""Against other implementations of the rules that torch does not have: optax, pytorch_optimizer."""

import importlib
import importlib.util

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES

STEPS = 100


def load(*names):
    """The last of these modules, or None where one is not installed."""
    if all(importlib.util.find_spec(name) for name in names):
        return importlib.import_module(names[-1])
    return None


jax = load("jax")
optax = load("jax", "optax")
torch = load("torch")
pytorch_optimizer = load("torch", "pytorch_optimizer")


def by_optax(make, start, grads):
    with jax.enable_x64(start.dtype == np.float64):
        rule = make(optax)
        param = jax.numpy.asarray(start)
        state = rule.init(param)
        for grad in grads:
            updates, state = rule.update(jax.numpy.asarray(grad), state, param)
            param = optax.apply_updates(param, updates)
        return np.asarray(param)


def by_pytorch_optimizer(make, start, grads):
    param = torch.nn.Parameter(torch.from_numpy(start.copy()))
    rule = make(pytorch_optimizer, [param])
    for grad in grads:
        param.grad = torch.from_numpy(grad.copy())
        rule.step()
    return param.detach().numpy()


OPTAX = {
    "adamax": (lambda o: o.adamax(2e-3), {}),
    "lion": (lambda o: o.lion(1e-4, weight_decay=0.0), {}),
    "lion, decay": (lambda o: o.lion(1e-2, weight_decay=0.1), {"lr": 1e-2, "weight_decay": 0.1}),
    "yogi": (lambda o: o.yogi(1e-2), {}),
    "adabelief": (lambda o: o.adabelief(1e-3), {}),
    "ademamix": (lambda o: o.contrib.ademamix(1e-3, alpha=5.0), {}),
    "ademamix, decay": (
        lambda o: o.contrib.ademamix(1e-2, alpha=2.0, weight_decay=0.1),
        {"lr": 1e-2, "alpha": 2.0, "weight_decay": 0.1},
    ),
    "lamb": (lambda o: o.lamb(1e-3, eps=1e-6, weight_decay=0.01), {}),
    # Without decay the two denominators are one.
    "lars": (
        lambda o: o.lars(1.0, weight_decay=0.0, trust_coefficient=1e-3),
        {"weight_decay": 0.0},
    ),
    "schedulefreeadamw": (
        lambda o: o.contrib.schedule_free_adamw(2.5e-3, warmup_steps=None, weight_decay=0.0),
        {},
    ),
    "schedulefreeadamw, decay": (
        lambda o: o.contrib.schedule_free_adamw(1e-2, warmup_steps=None, weight_decay=0.1),
        {"lr": 1e-2, "weight_decay": 0.1},
    ),
    "nadam": (lambda o: o.nadam(2e-3), {"momentum_decay": 1e9}),
    "adagrad": (
        lambda o: o.adagrad(1e-2),
        {"initial_accumulator_value": 0.1, "eps": 1e-7, "eps_inside_sqrt": True},
    ),
    "adadelta": (lambda o: o.adadelta(1.0), {}),
    # At a constant rate: below is what differs at another.
    "rmsprop, momentum": (
        lambda o: o.rmsprop(1e-3, decay=0.99, momentum=0.9),
        {"lr": 1e-3, "momentum": 0.9, "eps_inside_sqrt": True},
    ),
}
PYTORCH_OPTIMIZER = {
    "lion": (lambda o, p: o.Lion(p, lr=1e-4), {}),
    "yogi": (lambda o, p: o.Yogi(p), {}),
    "adabelief": (lambda o, p: o.AdaBelief(p, rectify=False), {}),
    "adabelief, decay": (
        lambda o, p: o.AdaBelief(p, lr=1e-2, rectify=False, weight_decay=0.1),
        {"lr": 1e-2, "weight_decay": 0.1},
    ),
    "adan": (lambda o, p: o.Adan(p), {}),
    "adan, decay": (
        lambda o, p: o.Adan(p, lr=1e-2, weight_decay=0.1, weight_decouple=False),
        {"lr": 1e-2, "weight_decay": 0.1},
    ),
    "ademamix": (lambda o, p: o.AdEMAMix(p), {}),
    "ademamix, warmup": (
        lambda o, p: o.AdEMAMix(
            p, lr=1e-2, t_alpha_beta3=50, weight_decay=0.1, weight_decouple=True
        ),
        {"lr": 1e-2, "warmup_steps": 50, "weight_decay": 0.1},
    ),
    "schedulefreeadamw": (lambda o, p: o.ScheduleFreeAdamW(p), {}),
    "schedulefreeadamw, warmup": (
        lambda o, p: o.ScheduleFreeAdamW(p, lr=1e-2, warmup_steps=30, weight_decay=0.1),
        {"lr": 1e-2, "warmup_steps": 30, "weight_decay": 0.1},
    ),
}
PEERS = [
    pytest.param(
        name.split(",")[0],
        by,
        *case,
        dtype,
        id=f"{library}-{name}-{dtype}",
        marks=pytest.mark.skipif(missing, reason=f"{library} is not installed (extra: peers)"),
    )
    for library, by, cases, missing in (
        ("optax", by_optax, OPTAX, optax is None),
        ("pytorch_optimizer", by_pytorch_optimizer, PYTORCH_OPTIMIZER, pytorch_optimizer is None),
    )
    for name, case in cases.items()
    for dtype in DTYPES
    # pytorch_optimizer adds 1e-15 to v there, which float64 sees where g is near 0.
    if not (library == "pytorch_optimizer" and "schedulefree" in name and dtype == "float64")
]


@pytest.mark.parametrize(("rule", "by", "make", "options", "dtype"), PEERS)
def test_peers(rule, by, make, options, dtype):
    rng = np.random.default_rng(1)
    start = rng.standard_normal(1_003).astype(dtype)
    grads = (rng.standard_normal((STEPS, start.size)) + 0.1).astype(dtype)
    theirs = by(make, start, grads)
    ours = start.copy()
    opt = fs.create(rule, [ours], **options)
    travelled = np.zeros(start.size)
    for grad in grads:
        before = ours.copy()
        opt.step([grad])
        travelled += np.abs(ours - before)
    error = np.abs(ours - theirs)
    allowed = np.finfo(dtype).eps * (STEPS * np.abs(ours) + 64 * (1 + travelled))
    assert np.all(error <= allowed), f"{float(np.max(error / allowed)):.2f} times the bound"


def falling(step):
    return 1e-3 * 0.97**step


def amsgrad_after_correction(p, grads):
    m = v = w = 0.0
    for t, g in enumerate(grads, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = np.maximum(w, v / (1 - 0.999**t))
        p = p - 1e-3 * m / (1 - 0.9**t) / (np.sqrt(w) + 1e-8)
    return p


def rmsprop_whose_momentum_is_of_steps(p, grads):
    v = buf = 0.0
    for t, g in enumerate(grads):
        v = 0.99 * v + 0.01 * g * g
        buf = 0.9 * buf + falling(t) * g / np.sqrt(v + 1e-8)
        p = p - buf
    return p


def radam_with_eps_in_the_corrected_root(p, grads):
    m = v = 0.0
    longest = 2 / 0.001 - 1
    for t, g in enumerate(grads, 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        c2 = 1 - 0.999**t
        n = longest - 2 * t * 0.999**t / c2
        move = 1e-3 * m / (1 - 0.9**t)
        if n > 5:
            r = np.sqrt((n - 4) * (n - 2) * longest / ((longest - 4) * (longest - 2) * n))
            move = move * r / (np.sqrt(v / c2) + 1e-2)
        p = p - move
    return p


def lars_with_the_norm_of_the_sum(p, grads):
    buf = 0.0
    for g in grads:
        d = g + 0.05 * p
        buf = 0.9 * buf + 1e-3 * np.linalg.norm(p) / np.linalg.norm(d) * d
        p = p - buf
    return p


def rprop_a_step_late(p, grads):
    length, previous = np.full(p.shape, 1e-2), np.zeros(p.shape)
    for g in grads:
        sign = g * previous
        turned = sign < 0
        p = p - np.where(turned, 0.0, np.sign(previous) * length)
        factor = np.where(sign > 0, 1.2, np.where(turned, 0.5, 1.0))
        length = np.clip(length * factor, 1e-6, 50.0)
        previous = np.where(turned, 0.0, g)
    return p


# What the docstrings say of optax 0.2.8 where it computes something else under the same name.
ELSEWHERE = {
    "adam": (lambda o: o.amsgrad(1e-3), amsgrad_after_correction, {"amsgrad": True}),
    "rmsprop": (
        lambda o: o.rmsprop(falling, decay=0.99, momentum=0.9),
        rmsprop_whose_momentum_is_of_steps,
        {"lr": falling, "momentum": 0.9, "eps_inside_sqrt": True},
    ),
    "radam": (
        lambda o: o.radam(1e-3, eps=1e-2),
        radam_with_eps_in_the_corrected_root,
        {"eps": 1e-2},
    ),
    "lars": (
        lambda o: o.lars(1.0, weight_decay=0.05),
        lars_with_the_norm_of_the_sum,
        {"weight_decay": 0.05},
    ),
    "rprop": (lambda o: o.rprop(1e-2), rprop_a_step_late, {}),
}


@pytest.mark.skipif(optax is None, reason="optax is not installed (extra: peers)")
@pytest.mark.parametrize("rule", ELSEWHERE)
def test_what_optax_computes_under_the_same_name(rule):
    make, formula, options = ELSEWHERE[rule]
    assert "optax" in type(fs.create(rule, np.zeros(1))).__doc__.split("Elsewhere")[1]
    rng = np.random.default_rng(1)
    start = rng.standard_normal(503)
    grads = rng.standard_normal((STEPS, start.size)) * np.exp(rng.standard_normal((STEPS, 1)))
    theirs = by_optax(make, start, grads)
    assert theirs == pytest.approx(formula(start, grads), rel=1e-9, abs=1e-9)
    ours = start.copy()
    opt = fs.create(rule, ours, **options)
    for grad in grads:
        opt.step(grad)
    assert np.max(np.abs(ours - theirs)) > 1e-6


@pytest.mark.skipif(torch is None, reason="torch is not installed (extra: peers)")
@pytest.mark.parametrize("dtype", DTYPES)
def test_rowwise_adagrad(dtype):
    """FBGEMM's formula in torch's operations: no library that can be installed here has it."""
    rng = np.random.default_rng(1)
    start = rng.standard_normal((50, 37)).astype(dtype)
    grads = (rng.standard_normal((STEPS, *start.shape)) + 0.1).astype(dtype)
    theirs, momentum = torch.from_numpy(start.copy()), torch.zeros(50, dtype=getattr(torch, dtype))
    ours, travelled = start.copy(), np.zeros(start.shape)
    opt = fs.RowwiseAdagrad({"table": ours}, lr=0.05, eps=1e-8, weight_decay=0.01)
    for grad in grads:
        g = torch.from_numpy(grad) + 0.01 * theirs
        momentum += g.pow(2).mean(dim=1)
        multiplier = 0.05 / (momentum.sqrt() + 1e-8)
        theirs -= multiplier[:, None] * g
        before = ours.copy()
        opt.step({"table": grad})
        travelled += np.abs(ours - before)
    error = np.abs(ours - theirs.numpy())
    allowed = np.finfo(dtype).eps * (STEPS * np.abs(ours) + 64 * (1 + travelled))
    assert np.all(error <= allowed), f"{float(np.max(error / allowed)):.2f} times the bound"
