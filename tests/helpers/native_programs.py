"""The C++ programs of tests/native."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
NATIVE = ROOT / "tests/native"


def compiled(folder, sources, *options):
    """The program of some sources."""
    compiler = os.environ.get("CXX", "c++")
    program = folder / "program"
    command = [compiler, "-std=c++17", "-O1", "-g", *options, *sources, "-o", program, "-pthread"]
    done = subprocess.run(
        [str(word) for word in command], check=False, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return program


def lines_of(program):
    """What it prints, line by line; it must end well."""
    done = subprocess.run([program], check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()
