"""Branch coverage of what validates, and of checkpoints: python tests/instrumented/cover.py [--native].

Python's is measured by coverage.py, of the package that is installed: of the modules that
[tool.coverage] in pyproject.toml names every branch must be taken by the tests below. With --native
the compiled core is built anew, and gcov reports of the files below, of which all lines must be taken
but those of devices, of NumPy before 2.1, and braces in which nothing but an exception ends. Branches
are not counted: most are those by which an exception leaves, which every call has.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import build

# Of what is refused, and of checkpoints; any other that covers more may be added.
TESTS = (
    "tests/api/test_docstrings.py",
    "tests/api/test_messages.py",
    "tests/api/test_notebook_reprs.py",
    "tests/api/test_slips.py",
    "tests/arrays/test_bad_structures.py",
    "tests/arrays/test_changed_arrays.py",
    "tests/arrays/test_missing_gradients.py",
    "tests/arrays/test_narrow_arrays.py",
    "tests/arrays/test_torch.py",
    "tests/checkpoint",
    "tests/cli/test_inspect.py",
    "tests/exact/test_functional_lists.py",
    "tests/exact/test_one_step.py",
    "tests/exact/test_schedule_free.py",
    "tests/exact/test_structure.py",
    "tests/exact/test_whole_step_faults.py",
    "tests/options",
    "tests/saving",
)
# What takes long and covers nothing of its own.
WITHOUT = (
    "any_options",
    "bad_values",
    "elsewhere",
    "every_bit",
    "killed",
    "large_state",
    "memory_is_bounded",
    "narrow_numbers",
    "nothing_here_can",
    "reduces_when_torch_does",
    "torch_reads_it",
)
NATIVE_TESTS = (
    "tests/api/test_messages.py",
    "tests/api/test_slips.py",
    "tests/arrays/test_bad_input.py",
    "tests/arrays/test_changed_arrays.py",
    "tests/arrays/test_memory_orders.py",
    "tests/arrays/test_narrow_arrays.py",
    "tests/arrays/test_overlaps.py",
    "tests/arrays/test_torch.py",
    "tests/arrays/test_torch_gradients.py",
    "tests/arrays/test_torch_memory.py",
    "tests/exact/test_rows.py",
    "tests/exact/test_rowwise.py",
    "tests/exact/test_whole_step_faults.py",
)
NATIVE = (
    "check.cpp",
    "description.cpp",
    "host/arrays.cpp",
    "host/reader.cpp",
    "messages.cpp",
    "rows.cpp",
    "strides.cpp",
)
NATIVE_LINES = 96  # percent

PYTHON = (sys.executable, "-m")
PYTEST = ("pytest", "-q", "-p", "no:cacheprovider")


def python(folder):
    """Run the tests, and report; whether all branches were taken."""
    variables = build.environment(COVERAGE_FILE=str(Path(folder) / "coverage"))
    chosen = " and ".join(f"not {word}" for word in WITHOUT)
    build.run(*PYTHON, "coverage", "run", "-m", *PYTEST, "-k", chosen, *TESTS, env=variables)
    report = (*PYTHON, "coverage", "report", "--skip-covered")
    return subprocess.run(report, env=variables, check=False, cwd=build.ROOT).returncode == 0


def native(folder):
    """Run the tests, and report; whether enough lines were taken."""
    package = build.package(folder, "coverage")
    build.run(*PYTHON, *PYTEST, *NATIVE_TESTS, env=build.environment(package))
    filters = (word for name in NATIVE for word in ("--filter", f"cpp/bindings/{name}"))
    options = ("--fail-under-line", str(NATIVE_LINES), "--root", str(build.ROOT))
    report = (*PYTHON, "gcovr", *filters, *options, str(Path(folder) / "build"))
    return subprocess.run(report, check=False, cwd=build.ROOT).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--native", action="store_true", help="of the compiled core instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        is_whole = (native if given.native else python)(folder)
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
