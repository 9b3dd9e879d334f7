"""Mini-batches as permutations; standardisation against long double and scikit-learn."""

import copy
import pickle
import warnings

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fusedstep as fs


@pytest.fixture
def rng():
    return np.random.default_rng(2024)


@given(
    st.integers(1, 300), st.sampled_from([1, 2, 8, 32, 128]), st.integers(0, 2**70), st.booleans()
)
def test_an_epoch_is_a_permutation(n, size, seed, drop):
    assume(n >= size or not drop)
    batches = fs.data.MiniBatches(np.arange(n), batch_size=size, seed=seed, drop_last=drop)
    epoch = list(batches)
    assert len(epoch) == len(batches)
    assert [len(batch) for batch in epoch[:-1]] == [size] * (len(epoch) - 1)
    seen = np.concatenate(epoch)
    assert len(seen) == (n // size * size if drop else n)
    assert_array_equal(np.unique(seen), np.sort(seen))  # none twice
    # The order itself is a promise: PCG64 from child `epoch` of the seed.
    (child,) = np.random.SeedSequence(seed).spawn(1)
    order = np.random.Generator(np.random.PCG64(child)).permutation(n)
    assert_array_equal(seen, order[: len(seen)])


def test_arrays_stay_aligned_and_batches_are_copies(rng):
    x, y = rng.standard_normal((50, 3), np.float32), np.arange(50)
    for shuffle in (True, False):
        for features, labels in fs.data.MiniBatches(x, y, batch_size=16, shuffle=shuffle):
            assert features.dtype == np.float32
            assert_array_equal(features, x[labels])
            features[:] = np.nan
    assert np.isfinite(x).all()


def epochs_of(seed, first=0):
    batches = fs.data.MiniBatches(np.arange(100.0), seed=seed)
    batches.set_epoch(first)
    return batches


def test_epochs_differ_and_resume():
    batches, resumed = epochs_of(7), epochs_of(7, first=2)
    epochs = [np.concatenate(list(batches)) for _ in range(4)]
    assert batches.epoch == 4
    assert len({epoch.tobytes() for epoch in epochs}) == 4
    assert_array_equal(np.concatenate(list(resumed)), epochs[2])
    with pytest.raises(ValueError, match="epoch: expected an integer >= 0, got -1"):
        resumed.set_epoch(-1)
    assert repr(resumed) == (
        "MiniBatches(float64[100], batch_size=32, seed=7, drop_last=False, shuffle=True, epoch=3)"
    )
    # Seeds that differ above the 32nd bit are other seeds, whatever the epoch.
    assert not np.array_equal(np.concatenate(list(epochs_of(7 + 2**32))), epochs[1])


def test_two_iterators_are_two_epochs():
    batches = fs.data.MiniBatches(np.arange(64), batch_size=8)
    first, second = iter(batches), iter(batches)
    assert batches.epoch == 2  # taken by iter(), not by the first next()
    interleaved = np.array(list(zip(first, second, strict=True)))
    expected = fs.data.MiniBatches(np.arange(64), batch_size=8)
    assert_array_equal(interleaved[:, 0], list(expected))
    assert_array_equal(interleaved[:, 1], list(expected))


def test_batch_size_hint():
    with pytest.warns(fs.data.BatchSizeHint, match="batch_size 10 .* 16 slots") as caught:
        batches = fs.data.MiniBatches(np.arange(25), batch_size=10, shuffle=False)
    assert caught[0].filename == __file__
    assert [batch.tolist() for batch in batches][-1] == [20, 21, 22, 23, 24]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exponent in range(12):
            fs.data.MiniBatches(np.arange(5), batch_size=2**exponent)


@pytest.mark.parametrize(
    ("lengths", "options", "error", "message"),
    [
        ([], {}, ValueError, r"arrays: .* got shapes \[\]"),
        ([3, ()], {}, ValueError, r"arrays: .* got shapes \[\(3,\), \(\)\]"),
        ([(3, 2), 4], {}, ValueError, r"equal lengths >= 1, got \[3, 4\]"),
        ([(0, 2)], {}, ValueError, r"equal lengths >= 1, got \[0\]"),
        ([3], {"batch_size": 0}, ValueError, "batch_size: .* >= 1, got 0"),
        ([3], {"batch_size": 2.0}, TypeError, "batch_size: .* got 2.0"),
        ([3], {"batch_size": True}, TypeError, "batch_size: .* got True"),
        ([3], {"seed": -1}, ValueError, "seed: .* >= 0, got -1"),
        ([3], {"batch_size": 4, "drop_last": True}, ValueError, "at most 3 .* got 4"),
    ],
)
def test_minibatches_refuse(lengths, options, error, message):
    with pytest.raises(error, match=f"^MiniBatches: .*{message}"):
        fs.data.MiniBatches(*map(np.zeros, lengths), **options)


def truth(x):
    wide = np.asarray(x, np.longdouble)
    return wide.mean(axis=0), wide.var(axis=0)


HARD = {
    "plain": lambda rng, n: rng.standard_normal(n),
    "mean 1e9, std 1e-3": lambda rng, n: 1e9 + 1e-3 * rng.standard_normal(n),
    "mean -1e12, std 1": lambda rng, n: -1e12 + rng.standard_normal(n),
    "first row far out": lambda rng, n: np.r_[1e9, rng.standard_normal(n - 1)],
    "trend": lambda _, n: np.linspace(-1, 1e6, n),
    "heavy tail": lambda rng, n: np.exp(5 * rng.standard_normal(n)),
    "tiny": lambda rng, n: 1e-100 * rng.standard_normal(n),
}


# The bounds that the docstring states; 70,000 rows of one column are more than one block.
def assert_is_truth(standardizer, x):
    mean, var = truth(x)
    slack = 1e-10 * np.sqrt(var) + np.spacing(np.abs(mean).astype(float))
    assert (np.abs(standardizer.mean_ - mean) <= slack).all()
    assert_allclose(standardizer.var_, var.astype(float), rtol=1e-10)
    assert standardizer.n_samples_seen_ == len(x)
    assert standardizer.n_features_in_ == x.shape[1]


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("step", [70_000, 20_000, 99])
def test_statistics_of_hard_columns(name, step, rng):
    x = HARD[name](rng, 70_000)[:, None]
    standardizer = fs.data.Standardizer()
    for start in range(0, len(x), step):
        standardizer.partial_fit(x[start : start + step])
    assert_is_truth(standardizer, x)


@given(st.sets(st.integers(1, 199)), st.integers(0, 2**32), st.sampled_from("fdl"))
def test_any_split_of_the_rows(cuts, seed, data_type):
    x = (1e4 + 10 * np.random.default_rng(seed).standard_normal((200, 3))).astype(data_type)
    standardizer = fs.data.Standardizer()
    for part in np.split(x, sorted(cuts)):
        standardizer.partial_fit(part)
    assert_is_truth(standardizer, x)
    assert_is_truth(standardizer.fit(x[:50]), x[:50])  # fit forgets


@pytest.mark.parametrize("layout", ["C", "F", "strided"])
@pytest.mark.parametrize("data_type", [np.float16, np.float32, np.float64, ">f4", np.int8, bool])
def test_agrees_with_scikit_learn(data_type, layout, rng):
    preprocessing = pytest.importorskip("sklearn.preprocessing", reason="the truth of this test")
    x = (3 * rng.standard_normal((400, 5)) + 1).astype(data_type)
    x = x[::2, ::-1] if layout == "strided" else np.asarray(x, order=layout)
    ours, theirs = fs.data.Standardizer(), preprocessing.StandardScaler()
    z, expected = ours.fit_transform(x), theirs.fit_transform(x.astype(float))
    tolerance = 32 * np.finfo(z.dtype).eps
    assert z.dtype == (x.dtype if x.dtype.kind == "f" else np.float64)
    assert_allclose(z, expected, rtol=tolerance, atol=tolerance)
    for name in ("mean_", "var_", "scale_", "n_samples_seen_", "n_features_in_"):
        assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-14)
    assert_allclose(ours.inverse_transform(z), x.astype(float), rtol=tolerance, atol=tolerance)


def test_float32_keeps_a_spread_that_is_small_beside_the_mean(rng):
    # With the mean rounded to float32, all of z would shift by up to half its unit: 0.05 here.
    x = (1e6 + 0.6 * rng.standard_normal((1000, 1))).astype(np.float32)
    mean, var = truth(x)
    z = fs.data.Standardizer().fit_transform(x)
    assert_allclose(z, ((x - mean) / np.sqrt(var)).astype(float), rtol=3e-7, atol=1e-9)


def test_constant_columns_are_centred_only(rng):
    noise = 0.3 + np.spacing(0.3) * rng.integers(-2, 3, 1000)  # as 0.1 + 0.2 among 0.3s
    real = 0.3 + 1e-13 * rng.standard_normal(1000)
    x = np.stack([np.zeros(1000), np.full(1000, 0.1), np.full(1000, -1e300), noise, real], axis=1)
    standardizer = fs.data.Standardizer()
    for part in np.split(x, [1, 2, 500]):
        standardizer.partial_fit(part)
    assert_array_equal(standardizer.mean_[:3], x[0, :3])
    assert_array_equal(standardizer.var_[:3], 0)
    assert_array_equal(standardizer.scale_[:4], 1)
    assert_allclose(standardizer.scale_[4], 1e-13, rtol=0.1)
    assert_array_equal(standardizer.transform(x)[:, :3], 0)


def test_in_place(rng):
    x = rng.standard_normal((300, 4)).astype(np.float32)
    standardizer = fs.data.Standardizer().fit(x)
    z, buffer = standardizer.transform(x), x.copy()
    assert standardizer.transform(buffer, out=buffer) is buffer
    assert_array_equal(buffer, z)
    back = standardizer.inverse_transform(z)
    assert standardizer.inverse_transform(buffer, out=buffer) is buffer
    assert_array_equal(buffer, back)
    assert_array_equal(fs.data.Standardizer().fit_transform(x, out=x), z)
    assert_array_equal(x, z)


def fitted():
    return fs.data.Standardizer().fit([[0.0, 1.0], [2.0, 5.0]])


@pytest.mark.parametrize("method", ["transform", "inverse_transform", "fit_transform"])
@pytest.mark.parametrize(
    ("out", "got"),
    [
        (np.zeros((3, 2), np.float32), r"a writeable float32 array of shape \(3, 2\)"),
        (np.zeros((2, 3)), r"a writeable float64 array of shape \(2, 3\)"),
        (np.broadcast_to(0.0, (3, 2)), r"a read-only float64 array of shape \(3, 2\)"),
        ([[0.0] * 2] * 3, "list"),
    ],
)
def test_out_is_checked(method, out, got):
    standardizer = fitted()
    before = pickle.dumps(standardizer), copy.deepcopy(out)
    with pytest.raises(ValueError, match=f"out: expected a writeable float64 .*, got {got}$"):
        getattr(standardizer, method)(np.ones((3, 2)), out=out)
    assert pickle.dumps(standardizer) == before[0]
    assert_array_equal(out, before[1])


@pytest.mark.parametrize(
    ("x", "error", "message"),
    [
        (np.ones(2), ValueError, r"expected 2 axes .* shape \(2,\); reshape\(-1, 1\) makes"),
        (np.ones((2, 2, 2)), ValueError, r"expected 2 axes .* got shape \(2, 2, 2\)"),
        (np.ones((0, 2)), ValueError, r"expected at least one value, got shape \(0, 2\)"),
        (np.ones((2, 2), complex), TypeError, "expected real numbers, got dtype complex128"),
        ([["a", "b"]], TypeError, "expected real numbers, got dtype <U1"),
        ([[1, 2], [np.inf, np.nan]], ValueError, "column 0: .* finite .* got inf in row 1"),
        ([[1, -np.inf], [1, np.nan]], ValueError, "column 1: .*, got -inf in row 0"),
    ],
)
def test_refused_data_changes_nothing(x, error, message):
    standardizer = fitted()
    before = pickle.dumps(standardizer)
    for method in ("fit", "partial_fit", "transform", "inverse_transform", "fit_transform"):
        with pytest.raises(error, match=f"^Standardizer: [xz]: {message}"):
            getattr(standardizer, method)(x)
        assert pickle.dumps(standardizer) == before


def test_other_columns_and_overflow_change_nothing():
    standardizer = fitted()
    before = pickle.dumps(standardizer)
    for method in ("partial_fit", "transform", "inverse_transform"):
        with pytest.raises(ValueError, match=r": [xz]: expected 2 columns, as fitted, got 3"):
            getattr(standardizer, method)(np.ones((4, 3)))
    with pytest.raises(ValueError, match=": x: column 1: the variance exceeds float64"):
        standardizer.partial_fit([[0.0, 1e308], [0.0, -1e308]])
    assert pickle.dumps(standardizer) == before


def test_not_fitted():
    standardizer = fs.data.Standardizer()
    assert repr(standardizer) == "Standardizer()"
    assert not hasattr(standardizer, "mean_")
    for method in (standardizer.transform, standardizer.inverse_transform):
        with pytest.raises(fs.data.NotFittedError, match="call fit or partial_fit first"):
            method(np.ones((2, 2)))
    with pytest.raises(ValueError, match="column 0"):
        standardizer.fit([[np.nan]])
    with pytest.raises(RuntimeError, match="not fitted"):
        _ = standardizer.scale_
    assert repr(standardizer.fit(np.ones((7, 2)))) == "Standardizer() fitted on 7 x 2"
