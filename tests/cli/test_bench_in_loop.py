"""The training loops of bench/: that they run, whom they name, and the arithmetic of their goals."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the sources are not here")

ARITHMETIC = """
from bench.cpu.loop_report import goals

def case(name, setting, ours, one, fused):
    times = {"fusedstep": ours, "fusedstep, 1 thread": one, "torch fused": fused}
    own = {who: {"step": t, "iteration": [1 + x for x in t]} for who, t in times.items()}
    return {"name": name, "title": name, "setting": setting, "contestants": own,
             "left_out": {"NumPy textbook": "why"}}

ours = [1.0, 2.0, 4.0]
loop = case("loop-numpy-109k", "quiet", ours, [1.0, 2.0, 2.0], [60.0, 100.0, 4.0])
beside = case("loop-numpy-109k", "busy1", ours, [0.8, 1.6, 3.2], ours)
row = case("row-10M", "busy2", ours, [1.1, 1.0, 4.4], ours)
nobody = {"name": "loop-torch-11M", "setting": "quiet", "contestants": {}}
rows = [(goal.met, goal.note) for goal in goals([loop, beside, row, nobody])]
assert rows == [
    ("met", ""), ("not measured", "why"), ("met", ""),  # 1 thread, the formula, the iteration
    ("not measured", ""), ("met", ""), ("not measured", ""),  # Numba, torch, DeepSpeed
    ("no", ""), ("no", ""),  # 1.25 of one thread; as fast as torch
    ("met", ""),
], rows
first = next(goals([loop]))
assert first.reached == (1.0, 0.5, 1.0), first  # by round, then the median
"""


def busy_processes_of(pid):
    """Those of the benchmark that this process has started and not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text(errors="replace").split("\0")
        except OSError:  # it has just ended
            continue
        if str(pid) in words and any("os.getppid" in word for word in words):
            found.append(words)
    return found


def test_its_arithmetic():
    command = [sys.executable, "-c", ARITHMETIC]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.exhaustive  # a process for each library and case
def test_a_tiny_run(tmp_path):
    """All loops of the smallest size, alone and beside a busy process, which is then gone."""
    words = "--rounds 1 --stretch 0.02 --peers none --settings quiet busy1 --only *109k --output"
    command = [sys.executable, "-m", "bench.cpu.in_loop", *words.split(), tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        stdout, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    assert not busy_processes_of(process.pid)

    result = json.loads((tmp_path / "in_loop.json").read_text())
    names = ["loop-numpy-109k", "loop-torch-109k", "row-109k", "many-100x109k"]
    assert [case["name"] for case in result["cases"]] == names * 2
    for case in result["cases"]:
        assert all(case["left_out"].values())  # whoever is missing, with a reason
        if case["contestants"]:
            assert {"fusedstep", "fusedstep, 1 thread"} <= case["contestants"].keys()
        else:
            assert case["title"] in case["left_out"]  # the loop of a library that is not here
    assert "NumPy textbook" in result["cases"][0]["contestants"]

    report = (tmp_path / "in_loop.md").read_text()
    for text in (stdout, report):
        assert "## Goals in the loop" in text
        assert text.count("| NumPy loop, 109k | ") == 7  # six goals, and a row of the summary
        assert text.count("| NumPy loop, 109k, 1 busy process beside | ") == 3
        assert text.count("| 100 optimizers in turn, MLP 109k each | ") == 2
    assert "### NumPy loop, 109k (" in report
