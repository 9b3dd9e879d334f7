"""The narrow modes in bench/: who takes part, the arithmetic of the goals, and what memory they take."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the sources are not here")

ARITHMETIC = """
from bench.cpu.modes import MODES, in_mode
from bench.cpu.names import CALL, ROOFLINE
from bench.cpu.narrow_report import narrow_goals, narrow_table

ours = in_mode(MODES["split24-8bit"])

def case(shape, parameters, threads, left_out, **times):
    own = {"fusedstep": [0.6, 0.8, 1.0], **times}
    contestants = {who: {"seconds": t, "reference": own["fusedstep"]} for who, t in own.items()}
    return {"name": f"narrow-split24-8bit-{shape}", "title": shape, "threads": threads,
            "parameters": parameters, "contestants": contestants, "left_out": left_out}

# Without the call, 0.2: (1.0 - 0.2) / (0.6 - 0.2) = 2, then 1.5, then 1.
small = case("2k", 10**9, 1, {}, **{ours: [1.0, 1.1, 1.0], CALL: [0.2] * 3})
large = case("16M", 10**9, 2, {"DeepSpeed": "why"}, torchao=[1.5, 2.0, 2.5],
             **{ours: [0.3, 0.5, 0.5], ROOFLINE: [0.3, 0.25, 0.25]})
elsewhere = case("16M", 10**9, 1, {}, **{ours: [9.0] * 3})  # not the threads it is meant for
rows = [(g.case, g.measure, g.met, g.note) for g in narrow_goals([small, large, elsewhere])]
assert rows == [
    ("2k", "time ÷ float32's, without calls", "met", ""),
    ("16M", "time of float32 ÷ ours", "met", "float32 takes 0.80 ns per parameter"),
    ("16M", "time of torchao ÷ ours", "met", ""),
    ("16M", "time of DeepSpeed ÷ ours", "not measured", "why"),
], rows
first, second, third, _ = narrow_goals([small, large])
assert [round(x, 9) for x in first.reached] == [1.5, 1.0, 2.0], first
assert [round(x, 9) for x in second.reached] == [2.0, 1.6, 2.0], second
assert third.reached == (5.0, 4.0, 5.0), third
head, rule, row = narrow_table([small, large]).splitlines()
assert row.split(" | ")[2:8] == [
    "1.50", "–", "0.800", "0.500", "2.00 (1.60-2.00)", "0.50 (0.50-1.00)"
], row
assert not narrow_table([]) and not list(narrow_goals([]))
"""


def run(*words, timeout=300):
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        capture_output=True,
        check=False,
        text=True,
        timeout=timeout,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_its_arithmetic():
    pytest.importorskip("ml_dtypes")
    run("-c", ARITHMETIC)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it takes Linux")
def test_memory():
    """Of bfloat16 parameters with 8-bit corrections and state: 2 + 1 + 2 bytes, and the scales."""
    pytest.importorskip("ml_dtypes")
    words = "--json --parameters 30000000 --only split24-8bit"
    [found] = json.loads(run("-m", "bench.cpu.memory", *words.split())).values()
    assert found["parameter"] == 2
    assert found["state"] == pytest.approx(3 + 2 * 4 / 128, abs=1e-3)
    assert max(found["made_at_most"], found["at_most"]) <= 5.1


def tiny_run(folder, *cases):
    """What the comparison says of these cases, measured as briefly as can be."""
    pytest.importorskip("ml_dtypes")
    words = ["--rounds", 1, "--stretch", 0.01, "--only", *cases, "--output", folder]
    return run("-m", "bench.cpu.compare", *words)


@pytest.mark.exhaustive  # a process for each library and case
def test_a_tiny_run(tmp_path):
    cases = ["narrow-bf16-state-2k", "narrow-split24-8bit-2k"]
    said = tiny_run(tmp_path, *cases)
    result = json.loads((tmp_path / "results.json").read_text())
    assert [case["name"] for case in result["cases"]] == cases
    for case in result["cases"]:
        assert {"fusedstep", "fusedstep, one element"} < case["contestants"].keys()
    report = (tmp_path / "report.md").read_text()
    for text in (said, report):
        assert "| bfloat16 parameters, 8-bit state, 24-bit master | – | " in text


@pytest.mark.long  # a minute
def test_a_tiny_run_in_the_loop(tmp_path):
    tiny_run(tmp_path, "narrow-bf16-state-2k", "narrow-loop-numpy-1.3M")
    [loop] = json.loads((tmp_path / "in_loop.json").read_text())["cases"]
    names = {
        "fusedstep",
        *(f"fusedstep, float32 parameters, {s} state" for s in ("bfloat16", "8-bit")),
    }
    assert names <= loop["contestants"].keys()
    assert "## Fewer bytes in the loop" in (tmp_path / "report.md").read_text()
