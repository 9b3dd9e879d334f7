"""Standardisation against long double and scikit-learn."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fusedstep as fs


@pytest.fixture
def rng():
    return np.random.default_rng(2024)


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


@pytest.mark.parametrize("data_type", [np.float16, np.float32, np.float64, np.int16])
def test_rounded_once(data_type, rng):
    x = (100 * rng.standard_normal((1000, 3)) + 40).astype(data_type)
    standardizer = fs.data.Standardizer().fit(x)
    z = standardizer.transform(x)
    wide = (x.astype(np.float64) - standardizer.mean_) / standardizer.scale_
    assert_array_equal(z, wide.astype(z.dtype))
    back = standardizer.inverse_transform(z)
    wide = z.astype(np.float64) * standardizer.scale_ + standardizer.mean_
    assert_array_equal(back, wide.astype(z.dtype))


@pytest.mark.parametrize("data_type", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("split", [0, 1, 3])
@pytest.mark.parametrize("others", [0.0, 1.0, 0.99, -0.99])
def test_values_near_the_maximum(data_type, split, others):
    largest = float(np.finfo(data_type).max)
    x = np.array([1, -1, others, others, others, -0.25])[:, None] * largest
    x = np.hstack([x, np.arange(6.0)[:, None], np.full((6, 1), -largest)]).astype(data_type)
    standardizer = fs.data.Standardizer()
    for part in np.split(x, [split] if split else []):
        standardizer.partial_fit(part)
    unit = np.array([largest, 1, largest], np.longdouble)
    mean, var = truth(x / unit)
    std = np.where(np.arange(3) < 2, np.sqrt(var), 1 / unit)  # the last column is constant
    assert_allclose((standardizer.mean_ / unit).astype(float), mean.astype(float), rtol=1e-10)
    assert_allclose((standardizer.scale_ / unit).astype(float), std.astype(float), rtol=1e-10)
    with np.errstate(over="ignore"):  # the variance may exceed float64
        assert_allclose(standardizer.var_, np.square(standardizer.scale_) * [1, 1, 0], rtol=1e-10)
    tolerance = 4 * float(np.finfo(data_type).eps)
    z = standardizer.transform(x)
    assert_allclose(z, ((x / unit - mean) / std).astype(float), rtol=tolerance, atol=tolerance)
    back = standardizer.inverse_transform(z[2:]) / unit  # rounded beyond the largest: not those
    assert_allclose(
        back.astype(float), (x / unit)[2:].astype(float), rtol=tolerance, atol=tolerance
    )


@pytest.mark.skipif(
    np.finfo(np.longdouble).max <= np.finfo(float).max, reason="long double is float64 here"
)
def test_a_value_beyond_float64_is_refused():
    standardizer = fitted()
    before = pickle.dumps(standardizer)
    with pytest.raises(ValueError, match="X: column 1: a value exceeds float64"):
        standardizer.partial_fit(np.array([[0, 1], [2, np.longdouble("1e400")]]))
    assert pickle.dumps(standardizer) == before


@pytest.mark.parametrize("data_type", [np.float32, np.float64])
def test_an_output_that_overlaps_the_input(data_type, rng):
    buffer = rng.standard_normal((50_000, 4)).astype(data_type)  # more than one block
    standardizer = fs.data.Standardizer().fit(buffer)
    for x, out in ((buffer[:-1], buffer[1:]), (buffer[1:], buffer[:-1]), (buffer[::-1], buffer)):
        expected = standardizer.transform(x)
        assert_array_equal(standardizer.transform(x, out=out), expected)


def test_y_is_ignored_and_nothing_given_is_written(rng):
    x, y = rng.standard_normal((100, 3)), rng.standard_normal((100, 3))
    given = x.copy(), y.copy()
    x.flags.writeable = y.flags.writeable = False
    z = fs.data.Standardizer().fit_transform(x, y)
    for standardizer in (
        fs.data.Standardizer().fit(x, y),
        fs.data.Standardizer().fit(X=x, y=y),
        fs.data.Standardizer().partial_fit(x, y),
    ):
        assert_array_equal(standardizer.transform(X=x), z)
    assert_array_equal(fs.data.Standardizer().fit_transform(x, y=None), z)
    assert_allclose(standardizer.inverse_transform(X=z), x, rtol=1e-13, atol=1e-15)
    assert_array_equal(x, given[0])
    assert_array_equal(y, given[1])
    for method in (standardizer.transform, standardizer.inverse_transform):
        with pytest.raises(TypeError, match="positional"):
            method(x, np.zeros_like(x))  # out by name only: a second array might be y
    with pytest.raises(TypeError, match="positional"):
        standardizer.fit_transform(x, y, np.zeros_like(x))


def test_parameters_of_the_constructor():
    standardizer = fitted()
    assert standardizer.get_params() == standardizer.get_params(deep=False) == {}
    assert standardizer.set_params() is standardizer
    with pytest.raises(ValueError, match="Standardizer: expected no parameters, got with_mean"):
        standardizer.set_params(with_mean=False)


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
        with pytest.raises(error, match=f"^Standardizer: X: {message}"):
            getattr(standardizer, method)(x)
        assert pickle.dumps(standardizer) == before


def test_other_columns_change_nothing():
    standardizer = fitted()
    before = pickle.dumps(standardizer)
    for method in ("partial_fit", "transform", "inverse_transform"):
        with pytest.raises(ValueError, match=r": X: expected 2 columns, as fitted, got 3"):
            getattr(standardizer, method)(np.ones((4, 3)))
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


class Sparse:
    """What a sparse matrix of SciPy looks like."""

    shape = (3, 2)

    def toarray(self):
        return np.zeros(self.shape)


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (np.ma.masked_less(np.arange(6.0).reshape(3, 2), 2), "a masked array"),
        (Sparse(), r"a sparse Sparse, which is not supported: use its toarray\(\)"),
    ],
)
def test_masked_and_sparse_arrays_are_refused(data, got):
    with pytest.raises(TypeError, match=rf"MiniBatches: arrays\[1\]: expected a plain .* {got}$"):
        fs.data.MiniBatches(np.zeros(3), data)
    with pytest.raises(TypeError, match=f"Standardizer: X: expected a plain NumPy array, .* {got}"):
        fs.data.Standardizer().fit(data)
