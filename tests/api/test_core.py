"""What the package never asks of its compiled core is refused there as well."""

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core


def test_values_to_load_that_do_not_fit():
    w = np.ones(3)
    core = fs.Adam({"w": w})._engine.core
    for states, params, words in (
        ([w], None, "expected one value per state"),
        ([w, w], [], "expected one value per parameter"),
        ([w, w], [np.ones(4)], "a value has its array's shape"),
    ):
        with pytest.raises(ValueError, match=words):
            core.restore(0, [0], states, params, [], [])


def test_names_that_are_not_strings():
    with pytest.raises(TypeError, match="incompatible function arguments"):
        _core.formats_of("parameter", [3], [np.ones(3)])
