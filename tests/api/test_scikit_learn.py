"""The Standardizer in scikit-learn's hands: pipelines, clones, and its checks of estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fusedstep as fs

sklearn = pytest.importorskip("sklearn", minversion="1.6", reason="needs scikit-learn >= 1.6")

# What our errors say in words of their own, and what is not converted.
EXPECTED_TO_FAIL = {
    "check_complex_data": "words: expected real numbers, got dtype complex128",
    "check_dtype_object": "numbers within an array of objects are not searched for",
    "check_estimators_empty_data_messages": "words: expected at least one value",
    "check_estimators_nan_inf": "words: expected finite values, got nan in row 0",
    "check_fit2d_predict1d": "words: expected 2 axes",
    "check_n_features_in_after_fitting": "words: expected 4 columns, as fitted",
}


@pytest.mark.filterwarnings("ignore:.*does not inherit from .sklearn.base.BaseEstimator")
def test_scikit_learns_checks_of_estimators():
    from sklearn.utils import estimator_checks

    results = estimator_checks.check_estimator(
        fs.data.Standardizer(),
        expected_failed_checks=EXPECTED_TO_FAIL,
        on_skip=None,
        on_fail=None,
    )
    failed = [result for result in results if result["status"] == "failed"]
    assert failed == []
    assert sum(result["status"] == "passed" for result in results) > 25


def test_pipeline_clone_and_search():
    from sklearn.base import clone
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    x, y = 5 + 3 * rng.standard_normal((200, 4)), rng.standard_normal(200)
    x.flags.writeable = y.flags.writeable = False
    before = y.copy()
    ours = make_pipeline(fs.data.Standardizer(), Ridge())
    theirs = make_pipeline(StandardScaler(), Ridge()).fit(x, y)
    unfitted = clone(ours)
    assert_allclose(ours.fit(x, y).predict(x), theirs.predict(x), rtol=1e-10)
    assert_array_equal(y, before)
    assert not hasattr(unfitted[0], "mean_")
    assert not hasattr(clone(ours)[0], "mean_")
    assert "Standardizer" in ours._repr_html_()
    assert "standardizer" in ours.get_params()
    search = GridSearchCV(ours, {"ridge__alpha": [0.1, 10.0]}, cv=3).fit(x, y)
    assert search.best_params_["ridge__alpha"] in (0.1, 10.0)
    # A pipeline of transformers alone, whose last step says whether it is fitted.
    scaling = make_pipeline(fs.data.Standardizer())
    assert_array_equal(scaling.fit_transform(x, y), fs.data.Standardizer().fit_transform(x))
    assert_allclose(scaling.inverse_transform(scaling.transform(x)), x, rtol=1e-12)
