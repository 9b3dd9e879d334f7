"""Instructions a step costs, counted by callgrind: a budget that holds on a noisy machine.

Each figure is a difference between two runs, so that what comes before the steps cancels. The runs are
children of one process, which has imported everything. Valgrind knows no AVX-512: AVX2 is counted.
"""

import os
import re
import shutil
import subprocess
import sys

import pytest

import fusedstep as fs

pytestmark = [
    pytest.mark.exhaustive,  # half a minute under valgrind
    pytest.mark.xdist_group("callgrind"),
    pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed"),
    pytest.mark.skipif("avx2" not in fs.available_isas(), reason="counts AVX2 instructions"),
]

PROGRAM = """
import os, sys
import numpy as np
import fusedstep as fs

def run(tensors, size, how, steps):
    params = [np.zeros(size, np.float32) for _ in range(tensors)]
    grads = [np.ones(size, np.float32) for _ in range(tensors)]
    opt = fs.Adam(params)
    opt.bind(grads)
    for _ in range(3):
        opt.step()
    for _ in range(steps):
        opt.step() if how == "bound" else opt.step(grads)

for name, arguments in eval(sys.argv[1]).items():
    if (child := os.fork()) == 0:
        run(*arguments)
        os._exit(0)
    print(name, child)
while True:
    try:
        assert os.wait()[1] == 0
    except ChildProcessError:
        break
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


@pytest.fixture(scope="module")
def per_step(tmp_path_factory):
    """Instructions a step of every run."""
    folder = tmp_path_factory.mktemp("callgrind")
    runs = {}
    for name, (*what, more) in RUNS.items():
        runs |= {f"{name}:few": (*what, FEW), f"{name}:more": (*what, FEW + more)}
    done = subprocess.run(
        [
            *("valgrind", "--tool=callgrind", f"--callgrind-out-file={folder}/%p"),
            *(sys.executable, "-u", "-c", PROGRAM, repr(runs)),
        ],
        env={
            **os.environ,
            "FUSEDSTEP_ISA": "avx2",
            "FUSEDSTEP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
        },
        check=False,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    counts = {}
    for line in done.stdout.splitlines():
        name, child = line.rsplit(" ", 1)
        counts[name] = int(
            re.search(r"^summary: (\d+)", (folder / child).read_text(), re.MULTILINE)[1]
        )
    return {
        name: (counts[f"{name}:more"] - counts[f"{name}:few"]) / more
        for name, (*_, more) in RUNS.items()
    }


def test_a_step(per_step):
    """One small tensor, the interpreter's work on the call included (measured: 7,245)."""
    assert per_step["one"] <= 8_000


def test_a_tensor(per_step):
    """What one more small tensor adds to a bound step (measured: 399)."""
    assert (per_step["many"] - per_step["one"]) / 1000 <= 400


def test_a_tensor_whose_gradient_is_passed_anew(per_step):
    """All checks of the gradient included (measured: 591)."""
    assert (per_step["many, passed"] - per_step["one, passed"]) / 1000 <= 680


def test_a_parameter(per_step):
    """Adam takes 8 parameters at once (measured: 2.51)."""
    assert (per_step["long"] - per_step["one"]) / 8000 <= 3.0
