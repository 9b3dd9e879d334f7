"""Training runs that are killed, and resumed in another process."""

import subprocess
import sys

from interpreters import environment

# What a script imports first is imported once, which takes trainers seconds; each run is a child.
RUNS = """
import os, sys
from pathlib import Path

imports, script, *places = sys.argv[1:]
exec(imports)
for place, kill_at in zip(places, (0, 7, 0), strict=True):
    if (child := os.fork()) == 0:
        sys.argv[1:] = place, str(kill_at)
        exec(script)
        sys.exit()
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended == (-9 if kill_at else 0), (kill_at, ended)
    assert (Path(place) / "end.pt").exists() == (kill_at == 0)
"""


def ends(script, folder):
    """What a script leaves in ``end.pt``: run whole, and killed on the way and run again.

    The script is given a folder of its own, where it finds and leaves its checkpoints, and the
    number of the step at which to kill itself, or 0. Its first lines are its imports.
    """
    import torch

    whole, resumed = folder / "whole", folder / "resumed"
    whole.mkdir()
    resumed.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUNS, *script.strip().split("\n\n", 1), whole, resumed, resumed],
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return torch.load(whole / "end.pt"), torch.load(resumed / "end.pt")


def same(a, b):
    """Whether two nests of tensors and numbers are the same, tensors to the bit."""
    import torch

    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)
