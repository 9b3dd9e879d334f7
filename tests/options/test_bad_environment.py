"""Environment variables that must be refused when the library is imported."""

import re

import pytest

import fusedstep as fs
from interpreters import python

BAD_COUNTS = ("0", "-1", "two", "1.5", " ", "2x", "4097", "9" * 30)
BAD_ENVIRONMENTS = [
    ("FUSEDSTEP_ISA", bad, fs.available_isas()[0]) for bad in ("sse9", "AVX2", "neon ")
]
BAD_ENVIRONMENTS += [("FUSEDSTEP_NUM_THREADS", bad, "1 to 4096") for bad in BAD_COUNTS]
BAD_ENVIRONMENTS += [("FUSEDSTEP_THREADING", bad, "'pool'") for bad in ("tbb", "Pool", " ")]
if not fs.show_config("dict")["openmp"]:
    BAD_ENVIRONMENTS.append(("FUSEDSTEP_THREADING", "openmp", "since this build has no OpenMP"))


@pytest.mark.parametrize(("variable", "value", "expected"), BAD_ENVIRONMENTS)
def test_bad_environment(variable, value, expected):
    done = python("import fusedstep", **{variable: value})
    assert done.returncode != 0
    assert re.match(
        rf"ImportError: {variable}: expected .*{expected}.*, got '{value}'$",
        done.stderr.splitlines()[-1],
    )
