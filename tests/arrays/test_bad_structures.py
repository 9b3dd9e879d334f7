"""Gradients of another structure than the parameters, and sets of gradients that do not go together."""

import numpy as np
import pytest

import fusedstep as fs
from optimizers import numbers, refused, running


@pytest.mark.parametrize(
    ("grads", "error", "words"),
    [
        ([np.ones(2)] * 2, ValueError, ["expected", "3", "got 2"]),
        ([np.ones(2)] * 4, ValueError, ["expected", "3", "got 4"]),
        (np.ones((3, 2)), TypeError, ["expected a list", "got ndarray"]),
        ({"w": np.ones(2)}, ValueError, ["no parameter is named 'w'; there are 0, 1, 2"]),
        (7, TypeError, ["expected a list", "got int"]),
    ],
    ids=["too few", "too many", "array", "unknown name", "number"],
)
def test_gradients_of_another_structure(grads, error, words):
    opt = fs.Adam([np.ones(2) for _ in range(3)])
    for call in (opt.step, opt.bind, lambda bad: opt.step_mean([[np.ones(2)] * 3, bad])):
        with refused(opt, error, *words):
            call(grads)


def test_a_key_that_is_no_parameter():
    opt = fs.Adam({"w": np.ones(2), "b": np.ones(2)})
    with refused(opt, ValueError, "no parameter is named 'v'; there are w, b"):
        opt.step({"w": np.ones(2), "v": np.ones(2)})
    assert opt.step({"w": np.ones(2)}).applied


def test_step_without_gradients():
    opt = fs.SGD([np.ones(2)])
    for unbind in (False, True):
        if unbind:
            opt.bind([np.ones(2)])
            opt.bind(None)
        with refused(opt, RuntimeError, "call step(grads), or bind(grads) first"):
            opt.step()
    assert opt.step_count == 0


@pytest.mark.parametrize(
    ("sets", "weights", "error", "words"),
    [
        ([], None, ValueError, ["grad_sets: expected at least one set", "got none"]),
        ([1, 1], [1.0], ValueError, ["weights: expected 2", "got 1"]),
        ([1, 1], [1.0, np.nan], ValueError, ["weights[1]: expected", "got nan"]),
        ([1, 1], [-1.0, 2.0], ValueError, ["weights[0]: expected", "got -1.0"]),
        ([1, 1], [1.0, "x"], TypeError, ["weights[1]: expected", "got 'x'"]),
        ([1, 1], [0.0, 0.0], ValueError, ["weights: expected a finite sum > 0", "got 0"]),
        ([1, None], None, ValueError, ["gradient of 'last'", "got None in set 1"]),
        ([None, 1], None, ValueError, ["gradient of 'last'", "got None in set 0"]),
    ],
)
def test_bad_gradient_sets(sets, weights, error, words):
    opt = running("adam", "float32")
    good = numbers(4, "float32")
    grad_sets = [good if given else {**good, "last": None} for given in sets]
    with refused(opt, error, *words):
        opt.step_mean(grad_sets, weights)


def test_a_numpy_scalar_where_it_cannot_serve():
    """Its dtype is checked as an array's; nobody can write to it, so it is neither bound nor zeroed."""
    opt = fs.SGD([np.ones(()), np.ones(2)], lr=1.0)
    with refused(opt, TypeError, "gradient of '0': expected dtype float64", "got float32"):
        opt.step([np.float32(1), np.ones(2)])
    with refused(opt, TypeError, "gradient of '1': expected an array", "NumPy scalar"):
        opt.step([np.float64(1), np.float64(1)])
    with refused(opt, TypeError, "gradient of '0': expected an array", "NumPy scalar"):
        opt.bind([np.float64(1), np.ones(2)])
    with refused(opt, ValueError, "gradient of '0'", "read-only"):
        opt.step([np.float64(1), np.ones(2)], zero_grads=True)


def test_keys_that_are_no_names():
    with pytest.raises(TypeError, match=r"params: expected names \(str\) as keys .* got 3"):
        fs.SGD({"a": {3: np.ones(2)}})


@pytest.mark.parametrize("first", ["a", "a.b"])
def test_a_name_that_is_also_the_start_of_others(first):
    """What the gradient is decides for which it is."""
    a, b = np.ones(2), np.ones(2)
    groups = {"a": {"params": {"a": a}}, "a.b": {"params": {"a": {"b": b}}}}
    opt = fs.SGD(sorted(groups.values(), key=lambda one: one is not groups[first]), lr=1.0)
    assert next(iter(opt.params)) == first
    opt.step({"a": np.ones(2)})
    assert (a[0], b[0]) == (0.0, 1.0)
    opt.step({"a": {"b": np.ones(2)}})
    assert (a[0], b[0]) == (0.0, 0.0)


def test_nested_gradients_that_are_none():
    a, b = np.ones(2), np.ones(2)
    opt = fs.SGD({"layer": {"a": a}, "other": [b]}, lr=1.0)
    opt.step({"layer": None, "other": [np.ones(2)]})
    assert (a[0], b[0]) == (1.0, 0.0)
    with refused(opt, TypeError, "gradients['layer']: expected a mapping", "got a list"):
        opt.step({"layer": [np.ones(2)], "other": None})


def test_a_list_and_a_mapping_of_one_name():
    a, b = np.ones(2), np.ones(2)
    opt = fs.SGD([{"params": {"a": [a]}}, {"params": {"a": {"k": b}}}], lr=1.0)
    opt.step({"a": [np.ones(2)]})
    opt.step({"a.k": np.ones(2)})
    assert (a[0], b[0]) == (0.0, 0.0)


def test_a_mapping_for_a_list_and_another_name_for_a_single_array():
    opt = fs.SGD({"layer": [np.ones(2)]})
    with refused(opt, TypeError, "gradients['layer']: expected a list", "got a mapping"):
        opt.step({"layer": {"w": np.ones(2)}})
    opt = fs.SGD(np.ones(2))
    with refused(opt, ValueError, "no parameter is named 'w'; there are param"):
        opt.step({"w": np.ones(2)})
