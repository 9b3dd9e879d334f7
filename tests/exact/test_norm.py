"""The norm of the gradients, which is one number whatever computes it, and clipping by it."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs
from cases import DTYPES, same_bits, settings
from fusedstep import _core
from reductions import clip_factor, grad_norm, tree_sum
from reference import Run
from whole_step import draw


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
        assert opt.step(grads, allow_empty=True).grad_norm == expected
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
