"""Instructions a step costs, counted by callgrind: a budget that holds on a noisy machine.

Each figure is a difference between two runs of the same program, so that interpreter and imports
cancel. Valgrind knows no AVX-512: AVX2 is counted.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

import fusedstep as fs

pytestmark = [
    pytest.mark.exhaustive,  # ten runs under valgrind
    pytest.mark.xdist_group("callgrind"),
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif("avx2" not in fs.available_isas(), reason="counts AVX2 instructions"),
]

PROGRAM = """
import sys
import numpy as np
import fusedstep as fs
tensors, size, steps = map(int, sys.argv[1:4])
how = sys.argv[4]
params = [np.zeros(size, np.float32) for _ in range(tensors)]
grads = [np.ones(size, np.float32) for _ in range(tensors)]
opt = fs.Adam(params)
opt.bind(grads)
for _ in range(3):
    opt.step()
for _ in range(steps):
    opt.step() if how == "bound" else opt.step(grads)
"""


# What is measured: tensors, their size, how the gradients come, and the steps that the longer run has
# more. What Python does varies by some hundred instructions a step, so that it takes many tensors to
# count those of one.
RUNS = {
    "one": (1, 16, "bound", 1000),
    "many": (1001, 16, "bound", 200),
    "one, passed": (1, 16, "passed", 1000),
    "many, passed": (1001, 16, "passed", 200),
    "long": (1, 16 + 8000, "bound", 1000),
}
FEW = 100


def instructions(folder, tensors, size, steps, how):
    out = folder / f"{tensors}-{size}-{steps}-{how}"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", sys.executable]
    result = subprocess.run(
        [*command, "-c", PROGRAM, str(tensors), str(size), str(steps), how],
        env={
            **os.environ,
            "FUSEDSTEP_ISA": "avx2",
            "FUSEDSTEP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
        },
        check=True,
        capture_output=True,
        text=True,
        timeout=600,
    )
    return int(re.search(r"Collected : (\d+)", result.stderr)[1])


@pytest.fixture(scope="module")
def per_step(tmp_path_factory):
    """Instructions a step of every run."""
    folder = tmp_path_factory.mktemp("callgrind")
    with ThreadPoolExecutor(2) as pool:
        counts = {
            (name, steps): pool.submit(instructions, folder, tensors, size, steps, how)
            for name, (tensors, size, how, more) in RUNS.items()
            for steps in (FEW, FEW + more)
        }
        return {
            name: (counts[name, FEW + more].result() - counts[name, FEW].result()) / more
            for name, (*_, more) in RUNS.items()
        }


def test_a_step(per_step):
    """One small tensor, the interpreter's work on the call included (measured: 7,870)."""
    assert per_step["one"] <= 8_000


def test_a_tensor(per_step):
    """What one more small tensor adds to a bound step (measured: 398)."""
    assert (per_step["many"] - per_step["one"]) / 1000 <= 400


def test_a_tensor_whose_gradient_is_passed_anew(per_step):
    """All checks of the gradient included (measured: 539)."""
    assert (per_step["many, passed"] - per_step["one, passed"]) / 1000 <= 680


def test_a_parameter(per_step):
    """Adam takes 8 parameters at once (measured: 2.49)."""
    assert (per_step["long"] - per_step["one"]) / 8000 <= 3.0
