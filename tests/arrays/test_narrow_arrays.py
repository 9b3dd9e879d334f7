"""Parameters, gradients and state of bfloat16, float16 and 8 bits: which go together, and what is refused."""

import numpy as np
import pytest

import fusedstep as fs
from cases import ROWWISE, RULES, same_bits
from optimizers import everything, locked, refused

ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: peers)")
DTYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
SHAPE = (48, 128)
MODES = {
    "nearest": {},
    "stochastic": {"rounding": "stochastic"},
    "kahan": {"rounding": "kahan"},
    "split": {"master": "split"},
    "split24": {"master": "split", "master_bits": 24},
}

narrow_parameters = pytest.mark.parametrize("param", ["bfloat16", "float16"])
every_gradient = pytest.mark.parametrize("grad", DTYPES)
every_mode = pytest.mark.parametrize("mode", MODES)


def numbers(seed, dtype, shape=SHAPE):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape).astype(np.float32).astype(DTYPES[dtype])


def bits(opt):
    """All that steps change."""
    return everything(opt)[1], {name: bytes(p.view(np.uint8)) for name, p in opt.params.items()}


def contents(opt):
    """The same, wherever it lies."""
    own = {name: {k: v for k, v in s.items() if k != "step"} for name, s in opt.state.items()}
    arrays = [a for states in own.values() for a in states.values()]
    return [a.tobytes() for a in (*opt.params.values(), *arrays)]


@pytest.mark.parametrize("param", DTYPES)
@every_gradient
@pytest.mark.parametrize("rule", ["adamw", "lamb", "rowwiseadagrad", "lars", "momentum"])
def test_a_gradient_is_its_numbers(param, grad, rule):
    """Whatever their dtype, the same numbers make the same step."""
    options = {"lr": 0.01, "max_grad_norm": 1.0, "skip_nonfinite": True}
    one, other = (fs.create(rule, {"w": numbers(1, param)}, **options) for _ in range(2))
    for seed in range(2, 5):
        g = numbers(seed, grad)
        result = one.step({"w": g})
        assert result == other.step({"w": g.astype(np.float32)})
        assert result.grad_norm == pytest.approx(np.linalg.norm(g.astype(np.float64)))
        one.step_mean([{"w": g}, {"w": g.astype(np.float32)}])
        other.step_mean([{"w": g.astype(np.float32)}, {"w": g}])
        if rule not in ("lamb", "lars"):
            one.step_rows("w", [3, 1, 3], g[:3])
            other.step_rows("w", [3, 1, 3], g[:3].astype(np.float32))
        bad = g.copy()
        bad[5, 5] = np.nan
        assert not one.step({"w": bad})
    assert contents(one) == contents(other)


@pytest.mark.parametrize("param", [*DTYPES, "float64"])
def test_gradients_that_do_not_go_with_their_parameter(param):
    dtypes = {**DTYPES, "float64": np.float64}
    opt = fs.Adam({"w": np.ones(3, dtypes[param])})
    others = [*({"float64": [*DTYPES]}.get(param, ["float64"])), "int32", "uint16", "int16"]
    beside = "expected dtype " + (
        "float64 like its parameter"
        if param == "float64"
        else f"float32, bfloat16 or float16 beside its parameter of {param}"
    )
    native = "float64" if param == "float64" else "float32"
    for other in others:
        bad = np.zeros(3, dtypes.get(other, other))
        with refused(opt, TypeError, f"gradient of 'w': {beside}, got {other}", f"np.{native})"):
            opt.step({"w": bad})
        if other in dtypes:
            with refused(opt, TypeError, "rows of 'w': expected ", f"got {other} of shape"):
                opt.step_rows("w", [0, 1, 2], bad)


@pytest.mark.parametrize("rule", RULES)
@narrow_parameters
@every_mode
def test_every_rule_steps_over_narrow_parameters(rule, param, mode):
    opt = fs.create(rule, {"w": numbers(1, param)}, ema_decay=0.5, **MODES[mode])
    other = fs.create(rule, {"w": numbers(1, param)}, ema_decay=0.5, **MODES[mode])
    before = opt.params["w"].copy()
    for seed in range(2, 5):
        g = numbers(seed, param)
        opt.step({"w": g})
        with fs.num_threads(1):
            other.step({"w": g.astype(np.float32)})
    assert contents(opt) == contents(other)
    assert np.any(opt.params["w"] != before)
    assert opt.params["w"].dtype == before.dtype
    states = opt.decoded_state("w")
    assert all(np.isfinite(state).all() for state in states.values())
    shape = (SHAPE[0],) if rule in ROWWISE else SHAPE
    assert {state.shape for state in states.values()} <= {shape}
    master = opt.master("w")
    assert master.dtype == np.float32
    close = {"bfloat16": 2.0**-8, "float16": 2.0**-11}[param]
    p = opt.params["w"].astype(np.float32)
    assert np.all(np.abs(master - p) <= close * np.abs(p) + 2.0**-24)
    assert np.any(master != p) == (mode not in ("nearest", "stochastic"))


@every_mode
def test_zeroing_frozen_and_bound_gradients(mode):
    w = {"a": numbers(1, "bfloat16"), "b": numbers(2, "bfloat16")}
    opt = fs.AdamW(w, state_dtype="8bit", **MODES[mode])
    grads = {"a": numbers(3, "float16"), "b": numbers(4, "float32")}
    opt.freeze("b")
    frozen = w["b"].copy()
    opt.bind(grads)
    opt.step(zero_grads=True)
    assert not any(np.any(g) for g in grads.values())
    assert np.array_equal(w["b"], frozen)
    assert not np.any(opt.state["b"]["exp_avg_scale"])


# Arrays of the optimizer --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("array", "role"),
    [
        ("exp_avg_scale", "scales of exp_avg of 'w'"),
        ("exp_avg_sq_scale", "scales of exp_avg_sq of 'w'"),
        ("exp_avg", "exp_avg of 'w'"),
        ("correction", "correction of 'w'"),
        ("ema", "average of 'w'"),
    ],
)
def test_nothing_that_is_read_overlaps_what_is_written(array, role):
    opt = fs.Adam(
        {"v": numbers(1, "bfloat16", 2), "w": numbers(1, "bfloat16")},
        state_dtype="8bit",
        master="split",
        ema_decay=0.5,
    )
    held = opt.state["w"][array].reshape(-1).view(np.uint8)
    at = -held.ctypes.data % 2
    grad = held[at : at + 4].view(ml_dtypes.bfloat16)
    with refused(opt, ValueError, f"expected memory of its own, got memory that overlaps {role}"):
        opt.step({"v": grad})
    with refused(opt, ValueError, f"that overlaps {role}"):
        opt.add_group({"params": {"u": grad}})
    saved = opt.state_dict()
    locked(opt.state["w"][array])
    with refused(opt, ValueError, f"{role}: expected a writeable array, got a read-only one"):
        opt.load_state_dict(saved)


@narrow_parameters
def test_parameters_that_cannot_be_updated(param):
    good = numbers(1, param)
    for bad, error, words in (
        (locked(good.copy()), ValueError, "expected a writeable array"),
        (good[:, ::2], ValueError, "expected a contiguous array"),
        (np.zeros(9, np.uint8)[1:].view(DTYPES[param]), ValueError, "an aligned array"),
        (good.view(np.uint16), TypeError, "float16, got uint16"),
    ):
        with pytest.raises(error, match="parameter 'w': ") as caught:
            fs.Adam({"v": good.copy(), "w": bad}, master="split")
        assert words in str(caught.value)
    swapped = good.astype(np.float16).astype(">f2")
    with pytest.raises(ValueError, match="expected native byte order"):
        fs.Adam({"w": swapped})
    copy = np.zeros(SHAPE, np.uint16)
    with pytest.raises(TypeError, match=f"expected a float32 parameter, got one of {param}"):
        fs.Adam({"w": good}, working_copy={"w": copy})


@pytest.mark.filterwarnings("ignore:Setting the dtype on a NumPy array:DeprecationWarning")
def test_an_array_that_changed_between_steps():
    w = numbers(1, "bfloat16")
    opt = fs.Adam({"w": w}, master="split")
    grad = numbers(2, "bfloat16")
    opt.bind({"w": grad})
    opt.step()
    before = opt.params["w"].tobytes()
    grad.dtype = np.uint16
    with pytest.raises(fs.ArrayChangedError, match="the array as it was when it was handed over"):
        opt.step()
    assert w.tobytes() == before


# torch --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", "8bit"])
@every_mode
def test_torch_parameters_are_those_of_ml_dtypes(state_dtype, mode):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    options = {"state_dtype": state_dtype, "ema_decay": 0.5, **MODES[mode]}
    mine, theirs = numbers(1, "bfloat16"), torch.tensor(numbers(1, "float32")).bfloat16()
    one, other = fs.AdamW({"w": mine}, **options), fs.AdamW({"w": theirs}, **options)
    theirs.requires_grad_()
    version = theirs._version
    for seed in range(2, 6):
        g = numbers(seed, "bfloat16")
        one.step({"w": g})
        theirs.grad = torch.tensor(g.astype(np.float32)).bfloat16()
        other.step([theirs.grad])
    assert theirs._version > version
    assert np.array_equal(mine.view(np.int16), theirs.detach().view(torch.int16).numpy())
    for name, state in one.state["w"].items():
        assert name == "step" or np.array_equal(state, other.state["w"][name])
    assert same_bits(one.master("w"), other.master("w"))
    before = theirs.detach().clone()
    with other.ema.swapped_in():
        rounded = torch.tensor(np.array(other.ema["w"])).bfloat16()
        assert torch.equal(theirs.detach(), rounded)
        with pytest.raises(
            RuntimeError, match=r"^cannot read master\(\) inside ema.swapped_in\(\)"
        ):
            other.master("w")
    assert torch.equal(theirs.detach(), before)
    assert same_bits(one.master("w"), other.master("w"))


@every_mode
def test_torch_trains_in_bfloat16(mode):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    x = torch.tensor(numbers(1, "float32", (32, 16)))
    y = (x * torch.linspace(-1, 1, 16)).sum(1)
    w = torch.nn.Parameter(torch.zeros(16, dtype=torch.bfloat16))
    opt = fs.AdamW({"w": w}, 2e-2, state_dtype="8bit", min_8bit_size=0, **MODES[mode])
    for _ in range(100):
        w.grad = None
        ((x * w).sum(1) - y).square().mean().backward()
        assert w.grad.dtype is torch.bfloat16
        opt.step([w.grad])
    assert ((x * w).sum(1) - y).square().mean() < 0.05 * y.square().mean()


# Averages -----------------------------------------------------------------------------------------


@narrow_parameters
def test_averages_of_narrow_values(param):
    values = {"w": numbers(1, param)}
    same = {"w": values["w"].astype(np.float32)}
    for init in ("copy", "zeros"):
        one, other = fs.EMA(values, 0.5, init=init), fs.EMA(same, 0.5, init=init)
        for seed in range(2, 5):
            new = numbers(seed, param)
            values["w"][...] = new
            same["w"][...] = new.astype(np.float32)
            one.update()
            other.update()
            one.update({"w": new})
            other.update({"w": new})
        assert one["w"].dtype == np.float32
        assert same_bits(one["w"], other["w"])
    again = fs.EMA(values, 0.5)
    again.load_state_dict(one.state_dict())
    assert same_bits(again["w"], one["w"])


@narrow_parameters
@every_mode
@pytest.mark.parametrize("corrected", [False, True])
def test_averages_swapped_in(param, mode, corrected):
    w = numbers(1, param)
    opt = fs.Adam({"w": w}, ema_decay=0.9, ema_bias_correction=corrected, **MODES[mode])
    for seed in range(2, 5):
        opt.step({"w": numbers(seed, param)})
    before = bits(opt)
    with opt.ema.swapped_in():
        assert np.array_equal(w, opt.ema["w"].astype(w.dtype))
    assert bits(opt) == before


@narrow_parameters
@every_mode
def test_schedule_free_averages(param, mode):
    w = numbers(1, param)
    opt = fs.ScheduleFreeAdamW({"w": w}, **MODES[mode])
    for seed in range(2, 5):
        opt.step({"w": numbers(seed, param)})
    before, y, z = bits(opt), opt.master("w"), opt.state["w"]["z"].copy()
    opt.eval()
    x = y + np.float32(1.0 - 1.0 / 0.9) * (z - y)
    assert np.array_equal(w, x.astype(w.dtype))
    opt.train()
    assert bits(opt) == before
