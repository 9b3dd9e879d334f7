"""Training runs that are killed, and resumed in another process."""

import signal
import subprocess
import sys

from interpreters import environment


def ends(script, folder):
    """What a script leaves in ``end.pt``: run whole, and killed on the way and run again.

    The script is given a folder of its own, where it finds and leaves its checkpoints, and the
    number of the step at which to kill itself, or 0.
    """
    import torch

    whole, resumed = folder / "whole", folder / "resumed"
    for place, kill_at in ((whole, 0), (resumed, 7), (resumed, 0)):
        place.mkdir(exist_ok=True)
        done = subprocess.run(
            [sys.executable, "-c", script, place, str(kill_at)],
            check=False,
            capture_output=True,
            text=True,
            timeout=600,  # trainers import much
            env=environment(),
        )
        expected = -signal.SIGKILL if kill_at else 0
        assert done.returncode == expected, done.stdout[-2000:] + done.stderr[-4000:]
        assert (place / "end.pt").exists() == (kill_at == 0)
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
