"""Trainings that are killed while they save: the newest checkpoint is whole, and nothing older."""

import re
import subprocess
import sys

import pytest

from interpreters import environment
from killed_saves import MODES


def kill(mode, count, folder, seed):
    """Run it, and return how many kills came after a save, and how many in the middle of one."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT, mode, str(count), folder, str(seed)],
        check=False,
        capture_output=True,
        text=True,
        timeout=1200,
        env=environment(),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    print(done.stdout)
    after, amid = re.search(r"(\d+) after a save, (\d+) in the middle", done.stdout).groups()
    return int(after), int(amid)


SCRIPT = "import sys; from killed_saves import main; a = sys.argv; main(a[1], int(a[2]), *a[3:])"


@pytest.mark.parametrize("mode", MODES)
def test_fault_26_killed_at_random_moments(mode, tmp_path):
    after, _ = kill(mode, 13, tmp_path, 1)
    assert after > 0  # or nothing was tried


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
def test_fault_26_killed_a_thousand_times(mode, tmp_path):
    after, amid = kill(mode, 250, tmp_path, 2)
    assert after > 50
    assert amid > 5
