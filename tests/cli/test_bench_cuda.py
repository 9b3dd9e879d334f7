"""The comparison on CUDA devices, as far as it goes without one: a rehearsal, and its arithmetic."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the sources are not here"),
    pytest.mark.skipif(
        importlib.util.find_spec("torch") is None, reason="torch is not installed (extra: peers)"
    ),
]

ARITHMETIC = """
from bench.cuda.figures import bandwidth, goals, left_out
from bench.cuda.lists import flat_size
from bench.cuda.rivals import BYTES_PER_PARAMETER, CLIPPED, COPY, FUSED
from bench.harness.results import if_measured

def case(name, **times):
    ours = [1e-3, 2e-3]
    own = {who.replace("_", " "): [f * t for t in ours] for who, f in times.items()}
    own["fusedstep"] = ours
    contestants = {n: {"seconds": t, "reference": ours, "host": t} for n, t in own.items()}
    return {"name": name, "title": name, "parameters": 10**9, "tensors": 1, "left_out": {},
             "contestants": contestants}

assert BYTES_PER_PARAMETER["float32"] == 28
assert flat_size(80 << 30) == 10**9 and flat_size(1 << 30) == 14 * 10**6 and flat_size(76) == 1
gpt2 = case("gpt2", device_copy=0.95, torch_fused=0.5)
assert abs(if_measured(gpt2, COPY).median - 0.95) < 1e-12
assert abs(bandwidth(gpt2) * 1.5e-3 - 28e9) < 1
clip = case("clip-x", **{CLIPPED: 1.1})
mobile = case("mobilenetv2")
mobile["left_out"][FUSED] = "not installed"
graph = {"kernels": 20e-6, "replay": [25e-6, 35e-6, 26e-6], "eager": [1.0]}
result = {"cases": [gpt2, mobile, clip], "graphs": {"x": graph}, "missing": ["flat (why)"]}
met = [(goal.met, goal.note) for goal in goals(result)]
assert met == [("met", ""), ("no", ""), ("not measured", "not installed"), ("met", ""), ("met", "")], met
graph["kernels"], graph["eager"] = None, [10e-6]
*_, last = goals(result)
assert last.met == "no" and "profiler" in last.note
assert left_out(result) == "torch fused (not installed): mobilenetv2; flat (why)"
"""


def run(*words):
    return subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=ROOT,
    )


def test_its_arithmetic():
    done = run("-c", ARITHMETIC)
    assert done.returncode == 0, done.stderr


def test_a_rehearsal(tmp_path):
    """Every case with everybody who is here, on the CPU in the place of a card."""
    words = ("--rehearse", "--rounds", 2, "--stretch", 1e-4, "--output", tmp_path)
    done = run("-m", "bench.cuda.compare", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "results.json").read_text())
    assert len(result["cases"]) == 8
    assert len(result["graphs"]) == 3
    for case in result["cases"]:
        assert {"fusedstep", "torch fused"} <= case["contestants"].keys(), case["left_out"]
        # Whoever is missing is named with a reason.
        assert all(case["left_out"].values())
        assert len(case["contestants"]) + len(case["left_out"]) in (4, 6, 7)
    assert done.stdout.count("| GPT-2 124M |") == 3
    report = (tmp_path / "report.md").read_text()
    assert "## Goals" in report
    assert "µs per call on the host" in report


def test_a_machine_without_a_card_is_told_so(tmp_path):
    torch = importlib.import_module("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a card")
    done = run("-m", "bench.cuda.compare", "--output", tmp_path)
    assert done.returncode != 0
    assert "torch sees no CUDA device" in done.stderr
