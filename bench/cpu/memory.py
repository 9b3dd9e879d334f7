"""What parameters and their optimizer take of the memory, as the system counts it, by mode.

    python -m bench.cpu.memory [--parameters N] [--only MODE ...] [--json]

Every mode is measured in a process of its own: resident memory before the parameter exists, when its
AdamW has been made, and after a step, which writes every page of the state; and the most until then.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

import fusedstep as fs
from fusedstep._bench.modes import FLOAT32

from ..harness.processes import ROOT, is_selected
from ..harness.report import table
from .modes import MODES

ALL_MODES = {"float32": FLOAT32, **MODES}
STATUS = Path("/proc/self/status")
# Bytes per parameter beside the gradient.
GOALS = {"split24-8bit": 5.1}


def resident() -> tuple[int, int]:
    """Bytes now, and at most so far."""
    fields = dict(line.split(":") for line in STATUS.read_text().splitlines())
    now, most = (int(fields[name].split()[0]) * 1024 for name in ("VmRSS", "VmHWM"))
    return now, most


def measured(name: str, count: int) -> dict[str, float]:
    """Bytes per parameter of one mode, the gradient not among them."""
    mode = ALL_MODES[name]
    # Libraries are loaded and threads started before.
    small = np.ones(1 << 20, mode.dtype)
    fs.AdamW([small], **mode.options).step([small.copy()])
    before, _ = resident()
    p = np.ones(count, mode.dtype)
    opt = fs.AdamW([p], **mode.options)
    made, most_made = resident()
    g = np.ones(count, mode.dtype)
    opt.step([g])
    stepped, most = resident()
    return {
        "parameter": p.nbytes / count,
        "state": opt.state_bytes / count,
        "made": (made - before) / count,
        "made_at_most": (most_made - before) / count,
        "after_a_step": (stepped - before - g.nbytes) / count,
        "at_most": (most - before - g.nbytes) / count,
    }


def in_own_process(name: str, count: int) -> dict[str, float]:
    command = [sys.executable, "-m", "bench.cpu.memory", "--parameters", str(count)]
    done = subprocess.run(
        [*command, "--here", name], cwd=ROOT, stdout=subprocess.PIPE, check=True, text=True
    )
    return json.loads(done.stdout)


def as_table(found: dict[str, dict[str, float]]) -> str:
    rows = []
    for name, own in found.items():
        most, goal = max(own["made_at_most"], own["at_most"]), GOALS.get(name)
        verdict = "" if goal is None else f"≤ {goal}: {'met' if most <= goal else 'no'}"
        rows.append([str(ALL_MODES[name]), *(f"{value:.2f}" for value in own.values()), verdict])
    head = [
        "AdamW, bytes per parameter beside the gradient",
        "parameter",
        "`state_bytes`",
        "made",
        "at most until then",
        "after a step",
        "at most",
        "goal",
    ]
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--parameters", type=int, default=100_000_000, metavar="N")
    parser.add_argument(
        "--only", nargs="+", default=[""], metavar="MODE", help="by name or pattern"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object, for programs")
    parser.add_argument("--here", choices=ALL_MODES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.here:
        print(json.dumps(measured(arguments.here, arguments.parameters)))
        return
    if not STATUS.exists():
        sys.exit(f"there is no {STATUS}: it takes Linux")
    found = {
        name: in_own_process(name, arguments.parameters)
        for name in ALL_MODES
        if is_selected(name, arguments.only)
    }
    print(json.dumps(found, indent=1) if arguments.json else as_table(found))


if __name__ == "__main__":
    main()
