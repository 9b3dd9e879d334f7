"""The committed stub says what the compiled module has."""

import difflib

import pytest

import stubs


@pytest.mark.skipif(not stubs.COMMITTED.exists(), reason="the sources are not here")
def test_stub_is_current():
    pytest.importorskip(
        "pybind11_stubgen", reason="pybind11-stubgen is not installed (extra: test)"
    )
    committed = stubs.COMMITTED.read_text().splitlines()
    difference = "\n".join(
        difflib.unified_diff(committed, stubs.generate().splitlines(), lineterm="")
    )
    assert not difference, f"run `python tests/stubs.py` and commit the result:\n{difference}"
