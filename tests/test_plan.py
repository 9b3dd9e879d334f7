"""The plan of a step, counted: each element once, in one thread (tests/native/plan.cpp)."""

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.skipif(shutil.which("c++") is None, reason="compiles a C++ program")
def test_every_element_once_and_no_line_twice(tmp_path):
    program = tmp_path / "plan"
    sources = [ROOT / "tests/native/plan.cpp", ROOT / "cpp/plan.cpp"]
    command = ["c++", "-std=c++17", "-O1", "-I", ROOT / "cpp", *sources, "-o", program]
    subprocess.run([str(word) for word in command], check=True, timeout=120)
    result = subprocess.run([program], check=False, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout
    assert result.stdout == "20000 lists\n"
