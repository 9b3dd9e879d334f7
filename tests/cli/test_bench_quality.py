"""The comparison of what is learnt: that every training runs in every mode, and its arithmetic."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the sources are not here")

ARITHMETIC = """
import numpy as np
from bench.quality.report import row
from bench.quality.statistics import Interval, is_outside, is_worse
from bench.quality.weights import angle_between

def runs(*losses):
    same = {"metric": 0.5, "angle_of_a_step": [1.0], "angle_of_a_stretch": [2.0, 4.0, 3.0]}
    return [{**same, "seed": s, "loss": x, "training_loss": x} for s, x in enumerate(losses)]

assert Interval.of([1.0, 3.0]) == (2.0, 12.706 * 2**0.5 / 2**0.5), Interval.of([1.0, 3.0])
fp32 = runs(1.0, 2.0, 3.0)
found = [(is_outside(r, fp32, "loss"), is_worse(r, fp32, "loss")) for r in (
    runs(1.1, 2.11, 3.09), runs(0.9, 1.9, 2.9), runs(4.1, 5.1, 6.1), runs(1.5, 1.5, 3.1), runs(float("nan")),
)]
assert found == [(False, True), (False, False), (True, True), (False, False), (True, False)], found
a, b = np.float32([1, 0]), np.float32([1, 1e-5])
assert abs(angle_between(a, b) - np.degrees(1e-5)) < 1e-10 and angle_between(a, 0 * a) == 90
cells = row("nearest", runs(4.0, 5.0, 6.0), fp32)
assert cells == ["nearest", "+3.0000 ± 0.0000", "+3.0000 ± 0.0000", "+0.00 ± 0.00", "1°", "3°",
                 "**outside: training loss, loss**"], cells
"""


def run(*words):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        cwd=ROOT,
    )


def needs(*modules):
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


@needs("ml_dtypes")
def test_its_arithmetic():
    done = run("-c", ARITHMETIC)
    assert done.returncode == 0, done.stderr


# The trainings, and in how many modes each runs.
EVERY = {"digits-adamw": 12, "digits-lion": 6, "digits-sgd": 6, "text-adamw": 12, "words-adamw": 12}
SOME = ("digits-lion", "text-adamw")


@needs("ml_dtypes", "torch", "sklearn")
@pytest.mark.exhaustive  # processes that load torch
@pytest.mark.parametrize(
    ("chosen", "number"),
    [
        pytest.param(
            ["--only", *SOME, "--modes", "fp32", "split-24-8bit"],
            dict.fromkeys(SOME, 2),
            id="two modes of some",
        ),
        pytest.param([], EVERY, marks=pytest.mark.long, id="every mode"),
    ],
)
def test_a_tiny_run(chosen, number, tmp_path):
    words = ("-m", "bench.quality.compare", "--seeds", 2, "--steps", 3, "--output", tmp_path)
    done = run(*words, *chosen)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "quality.json").read_text())
    modes = {case["name"]: len(case["modes"]) for case in result["cases"]}
    assert modes == number
    for case in result["cases"]:
        for runs in case["modes"].values():
            assert [run["seed"] for run in runs] == [0, 1]
            assert all(len(run["curve"]) == 3 and run["loss"] > 0 for run in runs)
        same = case["modes"]["fp32"][0]
        assert max(same["angle_of_a_stretch"]) == 0  # float32 is compared with itself
    report = (tmp_path / "quality.md").read_text()
    assert report.count("| split-24-8bit | ") == len(number)
    assert report in done.stdout

    again = run(*words, "--keep", "--only", "digits-lion", "--modes", "nearest")
    assert again.returncode == 0, again.stderr
    assert again.stderr.count("digits-lion nearest, seed ") == 2
    assert len(json.loads((tmp_path / "quality.json").read_text())["cases"]) == len(number)
