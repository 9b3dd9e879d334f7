"""Branch coverage of what validates, and of checkpoints: python tests/instrumented/cover.py [--native].

Python's is measured by coverage.py, of the package that is installed: of the modules that
[tool.coverage] in pyproject.toml names every branch must be taken by the tests below. With --native
the package is built anew by clang, without OpenMP; some of the other tests pass with it too, and of
the files below every line and branch must be reached. llvm-cov counts those of the source, where
gcov's branches are the compiler's, most of them the ways by which exceptions leave.
"""

import argparse
import collections
import json
import os
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
# The loops as Clang compiles them.
CLANG_TESTS = (
    "tests/exact/test_exact.py",
    "tests/formats/test_whole_step.py",
    "tests/native/test_step_costs.py",
    "tests/threads/test_threads.py",
)
NATIVE_TESTS = (
    "tests/api/test_core.py",
    "tests/api/test_face.py",
    "tests/api/test_messages.py",
    "tests/api/test_slips.py",
    "tests/arrays/test_bad_input.py",
    "tests/arrays/test_changed_arrays.py",
    "tests/arrays/test_descriptions.py",
    "tests/arrays/test_dlpack.py",
    "tests/arrays/test_memory_orders.py",
    "tests/arrays/test_narrow_arrays.py",
    "tests/arrays/test_torch.py",
    "tests/arrays/test_torch_gradients.py",
    "tests/arrays/test_torch_memory.py",
    "tests/exact/test_rows.py",
    "tests/exact/test_rowwise.py",
    "tests/exact/test_whole_step_faults.py",
    "tests/saving",
)
# On the device that the CPU plays, whose tests are not in the fast lane.
DEVICE_TESTS = (
    "tests/cuda/test_calls.py",
    "tests/cuda/test_face.py",
    "tests/cuda/test_libraries.py",
    "tests/cuda/test_readers.py",
    "tests/cuda/test_refusals.py",
    "tests/cuda/test_torch_tensors.py",
)
NATIVE = (
    "check.cpp",
    "check.hpp",
    "description.cpp",
    "description.hpp",
    "device/arrays.cpp",
    "device/arrays.hpp",
    "device/reader.cpp",
    "device/space.cpp",
    "exchange.cpp",
    "host/arrays.cpp",
    "host/arrays.hpp",
    "host/reader.cpp",
    "messages.cpp",
    "messages.hpp",
    "rows.cpp",
    "rows.hpp",
    "saved.hpp",
    "strides.cpp",
)
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
    """Run the tests, and report; whether all was reached."""
    tree, profiles = Path(folder) / "build", Path(folder) / "profiles"
    # ccache would make the paths of sources relative, by which they are found here.
    own = {"FUSEDSTEP_CUDA_EMULATION": "ON", "CMAKE_CXX_COMPILER_LAUNCHER": ""}
    package = build.package(folder, "coverage", **own)
    uncounted = build.environment(package, LLVM_PROFILE_FILE=os.devnull)
    build.run(*PYTHON, *PYTEST, *CLANG_TESTS, env=uncounted)
    counted = build.environment(
        package,
        FUSEDSTEP_NATIVE_TREE=str(tree),
        LLVM_PROFILE_FILE=str(profiles / "%m-%p"),  # of each module of each process
    )
    build.run(*PYTHON, *PYTEST, *NATIVE_TESTS, env=counted)
    build.run(*PYTHON, *PYTEST, "-m", "not long", *DEVICE_TESTS, env=counted)
    merged = Path(folder) / "merged"
    build.run("llvm-profdata", "merge", "-o", merged, *profiles.iterdir())
    (core,), (cuda,) = tree.glob("_core*.so"), tree.glob("_cuda*.so")
    sources = [build.ROOT / "cpp/bindings" / name for name in NATIVE]
    export = ("llvm-cov", "export", f"-instr-profile={merged}", core, "-object", cuda, *sources)
    printed = build.run(*export, stdout=subprocess.PIPE).stdout
    return is_covered(json.loads(printed)["data"][0]["files"])


def is_covered(files):
    """Report; whether every line and every branch was reached in all files."""
    kinds = ("lines", "branches")
    for file in files:
        name = Path(file["filename"]).relative_to(build.ROOT)
        for kind in kinds:
            summary = file["summary"][kind]
            if summary["covered"] < summary["count"]:
                print(f"{name}: {summary['covered']} of {summary['count']} {kind}")
        for branch in not_taken(file):
            print(f"{name}:{branch}")
    is_whole = len(files) == len(NATIVE)
    if not is_whole:
        print(f"{len(files)} files, expected {len(NATIVE)}: under other names they are not found")
    for kind in kinds:
        count, covered = (
            sum(file["summary"][kind][word] for file in files) for word in ("count", "covered")
        )
        print(f"{covered} of {count} {kind}")
        is_whole = is_whole and covered == count
    return is_whole


def not_taken(file):
    """Where a condition was never true, or never false, as 'line:column true'."""
    counts = collections.defaultdict(lambda: [0, 0])
    for *place, true, false, _, _, _ in file["branches"]:  # once for each instantiation
        counts[tuple(place)][0] += true
        counts[tuple(place)][1] += false
    for (line, column, *_), both in sorted(counts.items()):
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
