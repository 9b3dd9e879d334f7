"""The plan of a step, counted: each element once, in one thread (tests/native/plan.cpp)."""

import shutil

import pytest

from native_programs import NATIVE, ROOT, compiled, lines_of


@pytest.mark.skipif(shutil.which("c++") is None, reason="compiles a C++ program")
def test_every_element_once_and_no_line_twice(tmp_path):
    sources = [NATIVE / "plan.cpp", ROOT / "cpp/engine/plan.cpp"]
    assert lines_of(compiled(tmp_path, sources, "-I", ROOT / "cpp")) == ["20000 lists"]
