"""CPUs that are not here, which QEMU plays: it starts there, and gives the same bits."""

import os
import shutil
import subprocess
import sys

import pytest

import fusedstep as fs
from interpreters import environment
from native_tree import Tree

# A machine's instruction sets by the name that QEMU has for it, the widest last.
MACHINES = {
    "qemu64": ["baseline"],  # the first x86-64
    "Nehalem": ["baseline"],  # the oldest that NumPy starts on
    "Haswell": ["baseline", "avx2"],
}
X86 = "qemu-x86_64"
ARM, CROSS = "qemu-aarch64", "aarch64-linux-gnu-g++"


def needs(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"not here: {' '.join(missing)}")


def run(*command, **variables):
    return subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
        env=environment(**variables),
    )


def digests(*command, isa=""):
    """The instruction set that a run of tests/native/digest.cpp was on, and its lines."""
    done = run(*command, FUSEDSTEP_ISA=isa)
    assert done.returncode == 0, done.stderr
    return done.stderr.split()[-1], done.stdout


@pytest.fixture(scope="module")
def program(native_tree):
    native_tree.build("fusedstep_digest")
    return native_tree.folder / "fusedstep_digest"


@pytest.fixture(scope="module")
def expected(program):
    isa, lines = digests(program, isa="baseline")
    assert isa == "baseline"
    assert len(lines.splitlines()) > 300
    return lines


@pytest.mark.parametrize("isa", fs.available_isas())
def test_fault_19_digests_of_every_instruction_set(program, expected, isa):
    assert digests(program, isa=isa) == (isa, expected)


@needs(X86)
@pytest.mark.parametrize("machine", ["qemu64", "Haswell"])
def test_fault_20_digests_on_older_machines(program, expected, machine):
    """What is compiled for wider instruction sets must not be reached."""
    assert digests(X86, "-cpu", machine, program) == (MACHINES[machine][-1], expected)


@needs(ARM, CROSS)
def test_fault_20_digests_on_aarch64(expected, tmp_path):
    tree = Tree(
        tmp_path,
        "-DCMAKE_SYSTEM_NAME=Linux",
        "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
        f"-DCMAKE_CXX_COMPILER={CROSS}",
        "-DFUSEDSTEP_PYTHON=OFF",
        "-DFUSEDSTEP_TESTS=ON",
        "-DFUSEDSTEP_WERROR=ON",
    )
    tree.build("fusedstep_digest")
    program = [ARM, "-L", "/usr/aarch64-linux-gnu", tmp_path / "fusedstep_digest"]
    assert digests(*program) == ("neon", expected)


PACKAGE = """
import hashlib, sys
sys.path[:0] = eval(sys.argv[1])
import numpy as np, fusedstep as fs
print(*fs.available_isas())
sha, rng = hashlib.sha256(), np.random.default_rng(1)
for rule in fs.available():
    for dtype in ("float32", "float64"):
        start, grad = rng.standard_normal((2, 1003)).astype(dtype)
        params = {"w": start, "table": start[:960].reshape(20, 48).copy()}
        opt = fs.create(rule, params, max_grad_norm=0.5, weight_decay=0.01, ema_decay=0.9)
        for _ in range(3):
            opt.step({"w": grad, "table": grad[:960].reshape(20, 48)})
        for name, param in params.items():
            for array in (param, opt.ema[name], *[*opt.state[name].values()][1:]):
                sha.update(array.tobytes())
print(sha.hexdigest())
"""


@pytest.mark.exhaustive  # 5 s each
@needs(X86)
@pytest.mark.skipif(sys.platform != "linux" or os.uname().machine != "x86_64", reason="plays Linux")
@pytest.mark.parametrize("machine", ["Nehalem", "Haswell"])
def test_fault_20_the_package_on_older_machines(machine):
    """NumPy, the extension module and a step of every rule."""
    here = run(sys.executable, "-c", PACKAGE, [])
    there = run(X86, "-cpu", machine, os.path.realpath(sys.executable), "-c", PACKAGE, sys.path)
    assert there.returncode == 0, there.stderr
    isas, digest = there.stdout.splitlines()
    assert isas.split() == MACHINES[machine]
    assert digest == here.stdout.splitlines()[1]


@needs(X86)
def test_fault_20_an_instruction_set_that_is_not_there_is_refused():
    python = [X86, "-cpu", "Haswell", os.path.realpath(sys.executable)]
    code = "import sys; sys.path[:0] = eval(sys.argv[1]); import fusedstep"
    done = run(*python, "-c", code, sys.path, FUSEDSTEP_ISA="avx512")
    assert done.returncode == 1
    assert "expected one of baseline, avx2 (what this CPU can run), got 'avx512'" in done.stderr
