"""The committed stubs say what is compiled, and what is made at run time."""

import difflib

import pytest

import face_stubs
import stubs

pytestmark = pytest.mark.skipif(not stubs.COMMITTED.exists(), reason="the sources are not here")


WRITE = "run `python tests/helpers/face_stubs.py`"


def check(name, generated):
    committed = (stubs.COMMITTED / f"{name}.pyi").read_text().splitlines()
    difference = "\n".join(difflib.unified_diff(committed, generated.splitlines(), lineterm=""))
    assert not difference, (
        f"run `python tests/helpers/stubs.py` and commit the result:\n{difference}"
    )


@pytest.fixture(autouse=True)
def _stubgen():
    pytest.importorskip(
        "pybind11_stubgen", reason="pybind11-stubgen is not installed (extra: test)"
    )


def test_stub_is_current():
    check("_core", stubs.generate("_core"))


def test_stub_of_the_functions_is_current():
    assert face_stubs.FUNCTIONAL.read_text() == face_stubs.functional(), WRITE


def test_stub_of_the_optimizers_for_torch_is_current():
    pytest.importorskip("torch", reason="torch is not installed")
    assert face_stubs.TORCH.read_text() == face_stubs.torch(), WRITE


def test_stub_of_the_cuda_module_is_current(emulated_module):
    check("_cuda", stubs.generate_cuda(emulated_module))
