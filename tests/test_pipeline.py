"""The whole step in one call: unscale, clip, decay, update, average, copy out, zero."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs
from cases import CASE_IDS, CASES, DTYPES, RULES, THREADS, awkward_numbers, same_bits
from fusedstep import _core
from reference import Run, bfloat16_bits, clip_factor, combine, grad_norm, same_bfloat16, tree_sum

SIZES = {"empty": 0, "small": 5, "block": 2048, "more": 2049, "large": 30_011}
SCALES = (1.0, 3.0, 1024.0)


def settings():
    for isa in fs.available_isas():
        for threads in THREADS:
            yield isa, threads


def draw(rng, dtype, awkward=False):
    make = awkward_numbers if awkward else lambda r, n, d: r.standard_normal(n).astype(d)
    return {name: make(rng, size, dtype) for name, size in SIZES.items()}


class World:
    """Arrays that the reference follows through whole steps."""

    def __init__(self, rule, options, params, ema_decay=None, **policy):
        self.runs = {name: Run(rule, options, param) for name, param in params.items()}
        self.limit = options.get("max_grad_norm")
        self.decay, self.policy = ema_decay, policy
        self.ema = {name: param.copy() for name, param in params.items()}

    def step(self, grads, scale=1.0):
        """The norm, and whether the step was applied."""
        norm = grad_norm([grads[name] for name in self.runs], scale)
        finite = all(
            np.all(np.isfinite(g / g.dtype.type(scale))) for g in grads.values() if g is not None
        )
        if self.policy.get("skip_nonfinite") and not finite:
            return norm, False
        clip = 1.0 if self.limit is None else clip_factor(self.limit, norm)
        for name, run in self.runs.items():
            if grads[name] is None:
                continue
            run.step(grads[name], scale, clip)
            if self.decay is not None:
                f = run.param.dtype.type
                with np.errstate(all="ignore"):
                    self.ema[name] = (
                        f(self.decay) * self.ema[name] + f(1.0 - self.decay) * run.param
                    )
        return norm, True


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_everything_at_once(rule, options, dtype):
    rng = np.random.default_rng(1)
    start = draw(rng, dtype)
    grads = [draw(rng, dtype), draw(rng, dtype, awkward=True)]
    options = {**options, "max_grad_norm": 0.7, "max_grad_value": 0.01}
    world = World(rule, options, start, ema_decay=0.9)
    norms = [world.step(g, scale)[0] for g, scale in zip(grads, SCALES[1:], strict=True)]
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        arrays = {name: param.copy() for name, param in start.items()}
        copies = {name: np.zeros(param.shape, np.uint16) for name, param in start.items()}
        own = {"working_copy": copies} if dtype == "float32" else {}
        opt = fs.create(rule, arrays, **options, ema_decay=0.9, **own)
        for grad, scale, norm in zip(grads, SCALES[1:], norms, strict=True):
            given_grads = {name: g.copy() for name, g in grad.items()}
            result = opt.step(given_grads, grad_scale=scale, zero_grads=True)
            assert result.applied
            assert same_bits(np.array(result.grad_norm), np.array(norm)), (isa, threads)
            assert not any(np.any(g) for g in given_grads.values())
        for name, run in world.runs.items():
            assert same_bits(arrays[name], run.param), (isa, threads, name)
            assert same_bits(opt.ema[name], world.ema[name]), (isa, threads, name)
            for state, value in run.state.items():
                assert same_bits(opt.state[name][state], value), (isa, threads, name, state)
            if own:
                assert same_bfloat16(copies[name], bfloat16_bits(run.param)), (isa, threads, name)


CHOICES = {
    "grad_scale": (1.0, 3.0, 0.25),
    "max_grad_norm": (None, 0.5, 1e9, math.inf),
    "max_grad_value": (None, 0.3),
    "weight_decay": (0.0, 0.1),
    "maximize": (False, True),
    "ema_decay": (None, 0.5),
    "zero_grads": (False, True),
}


@pytest.mark.parametrize("values", list(itertools.product(*CHOICES.values())), ids=str)
def test_options_go_together(values):
    given_options = dict(zip(CHOICES, values, strict=True))
    rng = np.random.default_rng(2)
    start, grads = draw(rng, "float32"), draw(rng, "float32")
    call = {name: given_options.pop(name) for name in ("grad_scale", "zero_grads")}
    ema_decay = given_options.pop("ema_decay")
    world = World("adamw", given_options, start, ema_decay)
    norm, _ = world.step(grads, call["grad_scale"])
    arrays = {name: param.copy() for name, param in start.items()}
    opt = fs.AdamW(arrays, **given_options, ema_decay=ema_decay)
    passed = {name: g.copy() for name, g in grads.items()}
    result = opt.step(passed, **call)
    assert result == (True, None if given_options["max_grad_norm"] is None else norm)
    for name, run in world.runs.items():
        assert same_bits(arrays[name], run.param)
        assert ema_decay is None or same_bits(opt.ema[name], world.ema[name])
        assert same_bits(
            passed[name], np.zeros_like(grads[name]) if call["zero_grads"] else grads[name]
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_sets_pass_through_the_pipeline(dtype):
    rng = np.random.default_rng(3)
    start, sets = draw(rng, dtype), [draw(rng, dtype) for _ in range(5)]
    weights = [0.5, 2.0, 0.0, 1.0, 3.0]
    options = {"max_grad_norm": 0.5, "weight_decay": 0.01}
    world = World("adam", options, start)
    means = {name: combine([s[name] for s in sets], weights, sum(weights)) for name in start}
    norm, _ = world.step(means, 3.0)
    arrays = {name: param.copy() for name, param in start.items()}
    opt = fs.Adam(arrays, **options)
    result = opt.step_mean(sets, weights, grad_scale=3.0, zero_grads=True)
    assert result == (True, norm)
    for name, run in world.runs.items():
        assert same_bits(arrays[name], run.param)
        assert not any(np.any(s[name]) for s in sets)


# The norm ----------------------------------------------------------------------------------------


@given(
    st.lists(st.integers(0, 10_000), min_size=1, max_size=6),
    st.sampled_from(DTYPES),
    st.integers(0, 2**32),
)
def test_the_norm_has_one_value(sizes, dtype, seed):
    rng = np.random.default_rng(seed)
    grads = [None if rng.random() < 0.2 else rng.standard_normal(n).astype(dtype) for n in sizes]
    expected = grad_norm(grads)
    for isa, threads in settings():
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        opt = fs.SGD([np.zeros(n, dtype) for n in sizes], max_grad_norm=1.0)
        assert opt.step(grads).grad_norm == expected
    exact = math.sqrt(math.fsum(x * x for g in grads if g is not None for x in g.tolist()))
    assert expected == pytest.approx(exact, rel=1e-14)


def test_the_norm_of_a_large_array_on_many_threads():
    grad = np.random.default_rng(4).standard_normal(5_000_011).astype(np.float32)
    expected = grad_norm([grad])
    for isa, threads in itertools.product(fs.available_isas(), (1, 2, 3, 64)):
        _core.use_isa(isa)
        fs.set_num_threads(threads)
        opt = fs.SGD(np.zeros_like(grad), max_grad_norm=math.inf)
        assert opt.step(grad).grad_norm == expected
    numbers = np.float64(grad) ** 2
    assert tree_sum(numbers) == pytest.approx(math.fsum(numbers.tolist()), rel=1e-15)


def test_clipping_is_torchs():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    rng = np.random.default_rng(5)
    for limit in (0.1, 1.0, 1e6):
        start, grads = draw(rng, "float64"), draw(rng, "float64")
        theirs = {n: torch.nn.Parameter(torch.from_numpy(p.copy())) for n, p in start.items()}
        for name, param in theirs.items():
            param.grad = torch.from_numpy(grads[name].copy())
        norm = torch.nn.utils.clip_grad_norm_(theirs.values(), limit)
        torch.optim.AdamW(theirs.values()).step()
        result = fs.AdamW(start, max_grad_norm=limit).step(grads)
        assert result.grad_norm == pytest.approx(float(norm), rel=1e-12)
        for name, param in theirs.items():
            np.testing.assert_allclose(start[name], param.detach().numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("per_group", [False, True])
def test_groups_have_limits_of_their_own(per_group):
    rng = np.random.default_rng(6)
    start, grads = rng.standard_normal((2, 3, 100))
    groups = [{"params": {"a": start[0].copy(), "b": start[1].copy()}, "max_grad_norm": 0.1}]
    groups.append({"params": {"c": start[2].copy()}, "max_grad_norm": None})
    opt = fs.Momentum(groups, max_grad_norm=5.0, clip_per_group=per_group)
    result = opt.step(dict(zip("abc", grads, strict=True)))
    assert result.grad_norm == grad_norm(grads)
    norm = grad_norm([*grads[:2], None]) if per_group else grad_norm(grads)
    for i, name in enumerate("abc"):
        run = Run("momentum", {}, start[i])
        run.step(grads[i], clip=clip_factor(0.1, norm) if name != "c" else 1.0)
        assert same_bits(opt.params[name], run.param)


def test_limits_change_between_steps():
    w, g = np.ones(4), np.full(4, 2.0)
    opt = fs.SGD(w, lr=1.0)
    assert opt.step(g) == (True, None)
    opt.groups[0]["max_grad_norm"] = 1.0
    assert opt.step(g) == (True, 4.0)
    assert np.allclose(w, 1 - 2 - 0.5, rtol=1e-6)
    opt.groups[0]["max_grad_norm"] = None
    assert opt.step(g) == (True, None)


def test_large_finite_doubles_are_finite():
    """Their squares are not: the norm is infinite, and clipping by it leaves nothing of them."""
    w = np.ones(3000)
    opt = fs.SGD(w, max_grad_norm=1.0, skip_nonfinite=True)
    assert opt.step(np.full(3000, 1e200)) == (True, math.inf)
    assert np.all(w == 1.0)


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_infinity_clips_nothing_whatever_the_norm(bad):
    params = [np.ones(2), np.ones(2)]
    opt = fs.SGD(params, lr=0.5, max_grad_norm=math.inf)
    norm = opt.step([np.array([bad, 1.0]), np.ones(2)]).grad_norm
    assert not math.isfinite(norm)
    assert [p[-1] for p in params] == [0.5, 0.5]
    assert not math.isfinite(params[0][0])
    huge = [np.ones(1), np.ones(1)]
    opt = fs.SGD(huge, lr=1e-200, max_grad_norm=math.inf, skip_nonfinite=True)
    assert opt.step([np.full(1, 1e200), np.full(1, 5e199)]) == (True, math.inf)
    assert (huge[0][0], huge[1][0]) == (0.0, 0.5)


# NaN and infinity --------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_a_step_is_skipped_as_if_it_had_not_been(rule, dtype, bad):
    rng = np.random.default_rng(7)
    start, grads = draw(rng, dtype), [draw(rng, dtype) for _ in range(3)]
    grads[1]["large"][-1] = bad
    options = {"max_grad_norm": 1.0}
    world = World(rule, options, start, 0.9, skip_nonfinite=True)
    opt = fs.create(rule, start, **options, ema_decay=0.9, skip_nonfinite=True)
    for grad, applied in zip(grads, (True, False, True), strict=True):
        before = {name: g.copy() for name, g in grad.items()}
        norm, same = world.step(grad)
        result = opt.step(grad, zero_grads=True)
        assert result.applied is applied is same
        assert same_bits(np.array(result.grad_norm), np.array(norm))
        assert applied or all(same_bits(grad[name], before[name]) for name in grad)
    assert opt.step_count == 2
    for name, run in world.runs.items():
        assert same_bits(start[name], run.param)
        assert same_bits(opt.ema[name], world.ema[name])
        assert opt.state[name]["step"] == 2


def test_unscaling_is_what_is_looked_at():
    w = np.ones(2, np.float32)
    opt = fs.SGD(w, skip_nonfinite=True)
    assert not opt.step(np.full(2, 3e38, np.float32), grad_scale=0.5).applied
    assert opt.step(np.full(2, 3e38, np.float32), grad_scale=2.0).applied


def test_without_a_policy_nan_stays_where_it_is():
    w = np.ones(10)
    grad = np.ones(10)
    grad[3] = math.nan
    assert fs.SGD(w, max_grad_value=1.0).step(grad) == (True, None)
    assert np.flatnonzero(np.isnan(w)).tolist() == [3]


# Averages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("correct", [False, True])
def test_the_average_is_that_of_a_sweep_of_its_own(dtype, correct):
    rng = np.random.default_rng(8)
    start = draw(rng, dtype)
    opt = fs.Adam(start, ema_decay=0.9, ema_bias_correction=correct)
    apart = fs.EMA(start, decay=0.9, init="zeros" if correct else "copy", bias_correction=correct)
    assert all(np.array_equal(opt.ema[name], apart[name]) for name in start)
    for _ in range(3):
        opt.step(draw(rng, dtype))
        apart.update()
    assert list(opt.ema) == list(start)
    assert all(same_bits(opt.ema[name], apart[name]) for name in start)


def test_averages_can_be_swapped_in():
    rng = np.random.default_rng(9)
    params = draw(rng, "float32")
    opt = fs.Adam(params, ema_decay=0.5)
    opt.step(draw(rng, "float32"))
    before = {name: p.copy() for name, p in params.items()}
    try:
        with opt.ema.swapped_in():
            assert all(same_bits(params[name], opt.ema[name]) for name in params)
            words = r"^cannot step inside ema.swapped_in\(\), where the parameters hold their av"
            with pytest.raises(RuntimeError, match=words):
                opt.step(draw(rng, "float32"))
            words = r"^cannot nest ema.swapped_in\(\) blocks$"
            with pytest.raises(RuntimeError, match=words), opt.ema.swapped_in():
                pass
            raise KeyError
    except KeyError:
        pass
    assert all(same_bits(params[name], before[name]) for name in params)
    assert opt.step(draw(rng, "float32")).applied


def test_averages_are_saved_and_loaded():
    rng = np.random.default_rng(10)
    start, grads = draw(rng, "float32"), [draw(rng, "float32") for _ in range(4)]
    straight = fs.Adam({n: p.copy() for n, p in start.items()}, ema_decay=0.9)
    for grad in grads:
        straight.step(grad)
    first = fs.Adam(start, ema_decay=0.9)
    for grad in grads[:2]:
        first.step(grad)
    second = fs.Adam({n: p.copy() for n, p in start.items()}, ema_decay=0.9)
    second.load_state_dict(first.state_dict())
    for grad in grads[2:]:
        second.step(grad)
    assert all(same_bits(straight.ema[name], second.ema[name]) for name in start)
    with pytest.raises(ValueError, match="state 'ema' missing"):
        second.load_state_dict(fs.Adam(start).state_dict())


def test_there_is_no_average_without_asking():
    with pytest.raises(AttributeError, match=r"^ema: pass ema_decay=\.\.\. at construction$"):
        _ = fs.Adam(np.ones(3)).ema


# Working copies ----------------------------------------------------------------------------------


def test_working_copies_round_to_nearest_even():
    bits = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000
    w = np.concatenate([bits, ties, ties + 1, ties - 1]).view(np.float32)
    copy = np.zeros(w.shape, np.uint16)
    fs.SGD({"w": w}, lr=0.0, working_copy={"w": copy}).step({"w": np.zeros_like(w)})
    assert np.array_equal(copy, bfloat16_bits(w))
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    theirs = torch.from_numpy(w.copy()).bfloat16().view(torch.uint16).numpy()
    finite = ~np.isnan(w)
    assert np.array_equal(copy[finite], theirs[finite])


def test_working_copies_of_torch_and_ml_dtypes():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    w = np.linspace(-3, 3, 1001, dtype=np.float32)
    copy = torch.zeros(1001, dtype=torch.bfloat16)
    fs.SGD({"w": w}, working_copy={"w": copy}).step({"w": np.ones_like(w)})
    assert torch.equal(copy, torch.from_numpy(w).bfloat16())
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: peers)")
    mine = np.zeros(1001, ml_dtypes.bfloat16)
    fs.SGD({"w": w}, working_copy={"w": mine}).step({"w": np.ones_like(w)})
    assert np.array_equal(mine, w.astype(ml_dtypes.bfloat16))


# Groups that come later, parameters that rest ----------------------------------------------------


def test_groups_can_be_added():
    a, b = np.ones(3), np.ones(2)
    opt = fs.Adam({"a": a}, lr=0.1, ema_decay=0.5)
    opt.step({"a": np.ones(3)})
    opt.add_group({"params": {"b": b}, "lr": 0.2})
    opt.step([{"a": np.ones(3)}, {"b": np.ones(2)}])
    opt.step({"b": np.ones(2)})
    assert [opt.state[name]["step"] for name in "ab"] == [2, 2]
    assert [group.lr for group in opt.groups] == [0.1, 0.2]
    run = Run("adam", {"lr": 0.2}, np.ones(2))
    for _ in range(2):
        run.step(np.ones(2))
    assert same_bits(b, run.param)
    assert set(opt.ema) == {"a", "b"}


def test_a_list_of_arrays_takes_a_list_of_arrays_as_another_group():
    arrays = [np.ones(3), np.ones(2), np.ones(4)]
    opt = fs.SGD(arrays[:2], lr=1.0)
    opt.add_group({"params": [arrays[2]]})
    assert list(opt.params) == ["0", "1", "1.0"]
    opt.step([[np.ones(3), np.ones(2)], [np.ones(4)]])
    assert not any(np.any(array) for array in arrays)


def test_frozen_parameters_rest():
    w = {"a": np.ones(3), "b": np.ones(3)}
    opt = fs.SGD(w, lr=1.0, max_grad_norm=math.inf)
    grads = {"a": np.full(3, 2.0), "b": np.full(3, 4.0)}
    opt.freeze("a")
    assert opt.frozen == {"a"}
    assert opt.step(grads).grad_norm == grad_norm([None, grads["b"]])
    opt.bind(grads)
    opt.step()
    opt.unfreeze(*opt.params)
    opt.step()
    assert np.all(w["a"] == -1)
    assert np.all(w["b"] == -11)
    assert [opt.state[name]["step"] for name in "ab"] == [1, 3]
