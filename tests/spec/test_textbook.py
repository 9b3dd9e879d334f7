"""Against independent truth: the textbook in longdouble, torch, and the lecture's worked numbers."""

import importlib
import importlib.util
import inspect

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._definition import registry

torch = importlib.import_module("torch") if importlib.util.find_spec("torch") else None
OPTIM = torch.optim if torch else None
from cases import CASE_IDS, CASES, DTYPES, ROWWISE, RULES
from reference import Run, nadam_product
from scalars import real_power
from textbook import TEXTBOOK

STEPS = 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_textbook(rule, options, dtype):
    """After n steps |p - exact| <= u * (n * max|p| + 64 * path), u the dtype's epsilon.

    `path` is how far the element has travelled (512 of it where centered): a step rounds the parameter once, and computes its
    own length with a handful of rounded operations whose errors the state carries on.
    """
    # A centered variance is the difference of two near numbers, which loses a few bits more.
    bound = 512 if options.get("centered") else 64
    rng = np.random.default_rng(1)
    start = rng.standard_normal((67, 61) if rule in ROWWISE else 4_099).astype(dtype)
    grads = (rng.standard_normal((STEPS, *start.shape)) + 0.1).astype(dtype)
    exact = Run(rule, options, start.astype(np.longdouble), TEXTBOOK)
    ours = start.copy()
    opt = fs.create(rule, ours, **options)
    path = np.zeros(start.shape, np.longdouble)
    largest = np.abs(exact.param)
    for grad in grads:
        before = exact.param
        exact.step(grad.astype(np.longdouble))
        opt.step(grad)
        path += np.abs(exact.param - before)
        largest = np.maximum(largest, np.abs(exact.param))
    error = np.abs(ours - exact.param)
    allowed = np.finfo(dtype).eps * (STEPS * largest + bound * path)
    assert np.all(error <= allowed), f"{float(np.max(error / allowed)):.2f} times the bound"


@pytest.fixture
def default_dtype():
    """Sets that of torch, in which it keeps some scalars (NAdam's product, ASGD's rate)."""
    before = torch.get_default_dtype()
    yield torch.set_default_dtype
    torch.set_default_dtype(before)


def test_the_average_of_asgd():
    rng = np.random.default_rng(1)
    start, grads = rng.standard_normal(1_003), rng.standard_normal((50, 1_003))
    opt, exact = fs.ASGD(start.copy(), t0=10), Run("asgd", {"t0": 10}, start, TEXTBOOK)
    for grad in grads:
        opt.step(grad)
        exact.step(grad)
    assert np.allclose(opt.state["param"]["ax"], exact.state["ax"], rtol=1e-13, atol=1e-15)
    assert not np.allclose(opt.state["param"]["ax"], exact.param, rtol=1e-3)


def torch_cases():
    """Every rule that torch has under the same name, with all options that both have."""
    if torch is None:
        missing = pytest.mark.skip(reason="torch is not installed (extra: peers)")
        return [pytest.param(None, None, marks=missing)]
    cases = []
    for (rule, options), case_id in zip(CASES, CASE_IDS, strict=True):
        if cls := getattr(OPTIM, registry[rule].__name__, None):
            theirs = inspect.signature(cls).parameters
            ours_alone = [n for n in options if n not in theirs]
            if all(options[n] == registry[rule].options[n].default for n in ours_alone):
                cases.append(pytest.param(rule, options, id=case_id))
    return cases


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), torch_cases())
def test_torch(rule, options, dtype, default_dtype):
    default_dtype(getattr(torch, dtype))
    torch_rule = getattr(OPTIM, registry[rule].__name__)
    known = inspect.signature(torch_rule).parameters
    shared = {name: value for name, value in options.items() if name in known}
    rng = np.random.default_rng(1)
    start = rng.standard_normal(1_003).astype(dtype)
    theirs = torch.nn.Parameter(torch.from_numpy(start.copy()))
    torch_opt = torch_rule([theirs], **shared)
    ours = start.copy()
    opt = fs.create(rule, [ours], **options)
    travelled = np.zeros(start.size)
    for _ in range(200):
        # A drift keeps the centered variance away from 0, where torch does not clamp it.
        grad = (rng.standard_normal(start.size) + 0.1).astype(dtype)
        before = ours.copy()
        theirs.grad = torch.from_numpy(grad)
        torch_opt.step()
        opt.step([grad])
        travelled += np.abs(ours - before)
    error = np.abs(ours - theirs.detach().numpy())
    allowed = np.finfo(dtype).eps * (200 * np.abs(ours) + 64 * (1 + travelled))
    assert np.all(error <= allowed), f"{float(np.max(error / allowed)):.2f} times the bound"


@pytest.mark.skipif(torch is None, reason="torch is not installed (extra: peers)")
@pytest.mark.parametrize("rule", [r for r in RULES if hasattr(OPTIM, registry[r].__name__)])
def test_defaults_are_torchs(rule):
    theirs = getattr(OPTIM, registry[rule].__name__)([torch.zeros(1)]).param_groups[0]
    ours = fs.create(rule, np.zeros(1)).groups[0]
    shared = set(ours) & set(theirs)
    assert {"lr", "maximize"} <= shared
    assert {name: ours[name] for name in shared} == {name: theirs[name] for name in shared}


# Scalars ---------------------------------------------------------------------------------------


def test_real_power():
    """Relative error <= 2^-52 * 2 * (1 + |log|), log the logarithm of the result, which rounds it."""
    rng = np.random.default_rng(1)
    bases = np.concatenate([rng.uniform(0, 2, 2_000), 10 ** rng.uniform(-300, 300, 2_000)])
    exponents = rng.uniform(-1, 1, bases.size) * 600 / np.maximum(1, np.abs(np.log(bases)))
    for base, exponent in zip(bases, exponents, strict=True):
        exact = np.longdouble(base) ** np.longdouble(exponent)
        error = abs(real_power(base, exponent) / exact - 1)
        assert error <= 2.0**-52 * 2 * (1 + abs(np.log(exact))), (base, exponent)
    assert [real_power(0.0, y) for y in (0.0, 0.5)] == [1.0, 0.0]
    with np.errstate(all="ignore"):
        assert [real_power(0.5, y) for y in (2000.0, -2000.0)] == [0.0, np.inf]


@pytest.mark.parametrize("beta1", [0.0, 0.5, 0.9, 0.9999, 1 - 2.0**-53])
@pytest.mark.parametrize("decay", [0.0, 1e-6, 4e-3, 0.1, 0.5, 10.0])
def test_product_of_nadams_momenta(beta1, decay):
    """1 - product to 2^-52, and 2^-52 of the product a factor, though not all are multiplied."""
    i = np.arange(1, 10_001, dtype=np.longdouble)
    products = np.cumprod(np.longdouble(beta1) * (1 - 0.5 * np.longdouble(0.96) ** (i * decay)))
    for t in (1, 2, 3, 10, 50, 100, 1_000, 10_000):
        error = (1 - nadam_product(beta1, decay, t)) - (1 - products[t - 1])
        assert abs(error) <= 2.0**-52 * (1 + t * products[t - 1])


# The lecture's numbers ---------------------------------------------------------------------------


def test_lecture_moving_average():
    series = np.array([0.1])
    ema = fs.EMA(series, decay=0.9)
    ema.update()
    assert ema["param"][0] == pytest.approx(0.01, rel=1e-15)


def test_lecture_moving_average_with_bias_correction():
    series = np.array([0.1])
    ema = fs.EMA(series, decay=0.9, bias_correction=True)
    for _ in range(5):
        ema.update()
        assert ema["param"][0] == pytest.approx(0.1, rel=1e-14)


def test_lecture_momentum():
    w = np.array([0.0])
    opt = fs.Momentum(w, lr=1.0, beta=0.9)
    opt.state["param"]["momentum_buffer"][0] = 0.04
    opt.step(np.array([0.24]))
    assert opt.state["param"]["momentum_buffer"][0] == pytest.approx(0.06, rel=1e-14)
    assert w[0] == pytest.approx(-0.06, rel=1e-14)
    # The step after: 90 % of 0.06 and 10 % of the new gradient.
    opt.step(np.array([0.5]))
    assert opt.state["param"]["momentum_buffer"][0] == pytest.approx(0.9 * 0.06 + 0.1 * 0.5)


@pytest.mark.parametrize(("rule", "falls"), [("adagrad", True), ("rmsprop", False)])
def test_lecture_rate_under_a_constant_gradient(rule, falls):
    """L6's rate falls as 1 / sqrt(t), L7's does not."""
    w = np.array([0.0])
    opt = fs.create(rule, w, lr=1.0, eps=1e-8, eps_inside_sqrt=True)
    steps = []
    for _ in range(2_000):
        before = w[0]
        opt.step(np.array([0.5]))
        steps.append(before - w[0])
    expected = 1 / np.sqrt(np.arange(1, 2_001)) if falls else np.ones(1_000)
    assert np.allclose(steps[-expected.size :], expected, rtol=1e-4)


def test_lecture_l6_formula():
    w, grads = np.array([1.0]), [0.3, -0.2, 0.5]
    opt = fs.Adagrad(w, lr=0.1, eps=1e-8, eps_inside_sqrt=True)
    expected, total = 1.0, 0.0
    for grad in grads:
        total += grad**2
        expected -= 0.1 / np.sqrt(total + 1e-8) * grad
        opt.step(np.array([grad]))
    assert w[0] == pytest.approx(expected, rel=1e-14)


def test_lecture_sum_and_mean_over_the_data():
    """L1 sums the gradients of the points, L2 averages them."""
    grads = [np.array([0.1, 0.2]), np.array([0.3, -0.4]), np.array([0.5, 0.5])]
    for apply, total in ((fs.SGD.step_sum, sum(grads)), (fs.SGD.step_mean, sum(grads) / 3)):
        w = np.array([1.0, 2.0])
        apply(fs.SGD(w, lr=0.1), grads)
        assert np.allclose(w, np.array([1.0, 2.0]) - 0.1 * total, rtol=1e-15)


def test_lecture_weight_has_an_address():
    """A weight is addressed by its layer and its position in it."""
    layers = {"layer2": {"w": np.zeros((5, 5))}}
    grads = {"layer2": {"w": np.zeros((5, 5))}}
    grads["layer2"]["w"][3, 4] = 1.0
    opt = fs.SGD(layers, lr=0.5)
    opt.step(grads)
    assert list(opt.params) == ["layer2.w"]
    assert opt.params["layer2.w"][3, 4] == -0.5
    assert np.count_nonzero(opt.params["layer2.w"]) == 1
