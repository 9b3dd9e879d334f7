"""Branch coverage of what validates, and of checkpoints: python tests/instrumented/cover.py [--native].

Python's is measured by coverage.py, of the package that is installed: of the modules that
[tool.coverage] in pyproject.toml names every branch must be taken by the tests below. With --native
the compiled core is built anew by clang, whose llvm-cov reports of the files below: its branches are
those of the source, where gcov's are the compiler's, most of them the ways by which exceptions leave.
"""

import argparse
import collections
import json
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
NATIVE_LEAST = {"lines": 96, "branches": 90}  # percent

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
    """Run the tests, and report; whether enough was taken."""
    package, profiles = build.package(folder, "coverage"), Path(folder) / "profiles"
    variables = build.environment(package, LLVM_PROFILE_FILE=str(profiles / "%p"))
    build.run(*PYTHON, *PYTEST, *NATIVE_TESTS, env=variables)
    merged = Path(folder) / "merged"
    build.run("llvm-profdata", "merge", "-o", merged, *profiles.iterdir())
    (module,) = (package / "fusedstep").glob("_core*.so")
    sources = [build.ROOT / "cpp/bindings" / name for name in NATIVE]
    export = ("llvm-cov", "export", f"-instr-profile={merged}", module, *sources)
    files = json.loads(build.run(*export, stdout=subprocess.PIPE).stdout)["data"][0]["files"]
    total = {kind: [0, 0] for kind in NATIVE_LEAST}
    for file in files:
        taken = []
        for kind, both in total.items():
            summary = file["summary"][kind]
            both[0] += summary["covered"]
            both[1] += summary["count"]
            taken.append(f"{summary['covered']} of {summary['count']} {kind}")
        name = Path(file["filename"]).relative_to(build.ROOT)
        print(f"{name}: {', '.join(taken)}; not taken: {', '.join(not_taken(file)) or 'none'}")
    print(*(f"{covered} of {count} {kind}" for kind, (covered, count) in total.items()), sep=", ")
    return all(
        covered * 100 >= NATIVE_LEAST[kind] * count for kind, (covered, count) in total.items()
    )


def not_taken(file):
    """Where a condition was never true, or never false, as 'line:column true'."""
    counts = collections.defaultdict(lambda: [0, 0])
    for line, column, _, _, true, false, *_ in file["branches"]:  # once for each instantiation
        counts[line, column][0] += true
        counts[line, column][1] += false
    for (line, column), both in sorted(counts.items()):
        for word, count in zip(("true", "false"), both, strict=True):
            if count == 0:
                yield f"{line}:{column} {word}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--native", action="store_true", help="of the compiled core instead")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        is_whole = (native if given.native else python)(folder)
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()
