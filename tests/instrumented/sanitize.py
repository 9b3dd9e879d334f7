"""The suite under sanitizers: python tests/instrumented/sanitize.py [--long] [address] [thread].

`address` is AddressSanitizer with UndefinedBehaviorSanitizer, `thread` ThreadSanitizer. A report of
any of them ends the process that it is about, and so fails its test. Without --long the build is not
optimized, of one instruction set, and runs a choice of tests, by default under the first: the threads
themselves run under ThreadSanitizer in tests/threads. `--tests` runs others.
"""

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from dataclasses import dataclass

import build


@dataclass(frozen=True)
class Sanitizer:
    """How a suite runs under one."""

    preset: str
    libraries: tuple[str, ...]  # loaded before Python, which is built without
    settings: dict[str, str]
    quick: tuple[str, ...]  # arguments of pytest
    long: tuple[str, ...]


# Tests that load a library of their own before all others or emulate a CPU, measure memory, or look at
# the code that was compiled or at what pip has installed.
NOT_HERE = (
    "--ignore=tests/api/test_packaging.py",
    "--ignore=tests/checkpoint/test_memory.py",
    "--ignore=tests/native/test_allocation_failures.py",
    "--ignore=tests/native/test_instructions.py",
    "--ignore=tests/native/test_other_cpus.py",
    "--ignore=tests/native/test_step_costs.py",
)

# Not optimized, and once: a build of a minute.
QUICKLY = {
    "CMAKE_BUILD_TYPE": "Debug",
    "FUSEDSTEP_BASELINE_ONLY": "ON",
    "FUSEDSTEP_UNITY": "ON",
}

SANITIZERS = {
    "address": Sanitizer(
        preset="asan",
        # Exceptions are found by the sanitizer only if the library that throws them is there.
        libraries=("libasan.so", "libstdc++.so.6"),
        settings={
            # What Python holds when it ends is not lost.
            "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
            "PYTHONMALLOC": "malloc",  # each object is an allocation that the sanitizer sees
        },
        quick=(
            "tests/arrays/test_bad_input.py",
            "tests/arrays/test_bound_gradients.py",
            "tests/arrays/test_changed_arrays.py",
            "tests/arrays/test_overlaps.py",
            "tests/arrays/test_torch_gradients.py",
            "tests/arrays/test_torch_memory.py",
            "tests/checkpoint/test_all_or_nothing.py",
            "tests/exact/test_one_step.py",
            "tests/exact/test_rows.py",
            "tests/saving/test_lent_state.py",
            "tests/saving/test_load_state.py",
        ),
        long=("-m", "not long", "--ignore=tests/cli", "tests"),
    ),
    "thread": Sanitizer(
        preset="tsan",
        libraries=("libtsan.so",),
        settings={"TSAN_OPTIONS": "halt_on_error=1:die_after_fork=0:report_signal_unsafe=0"},
        quick=("tests/threads/test_concurrency.py", "tests/threads/test_turns.py"),
        # What OpenMP's barriers order looks like a race: the library is built without the sanitizer,
        # which also takes more address space than those tests leave that let no thread start.
        long=(
            "-m",
            "not long",
            "-k",
            "not openmp and not every_source and not threads_of_torch and not cannot_be_started",
            "tests/threads",
            "tests/exact/test_exact.py",
        ),
    ),
}


def check(sanitizer, is_long, tests):
    """Whether all tests pass without a report."""
    with tempfile.TemporaryDirectory() as folder:
        package = build.package(folder, sanitizer.preset, **({} if is_long else QUICKLY))
        preloaded = [build.compiler_file(name) for name in sanitizer.libraries]
        variables = build.environment(package, LD_PRELOAD=" ".join(preloaded), **sanitizer.settings)
        arguments = tests or (sanitizer.long if is_long else sanitizer.quick)
        if importlib.util.find_spec("xdist"):
            arguments = ("-n", "2", "--dist", "loadgroup", *arguments)
        pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        command = [*pytest, *NOT_HERE, *arguments]
        return subprocess.run(command, env=variables, check=False, cwd=build.ROOT).returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "which", nargs="*", choices=[*SANITIZERS, []], help="with --long both by default"
    )
    parser.add_argument("--long", action="store_true", help="kernels too, and the whole suite")
    parser.add_argument("--tests", nargs=argparse.REMAINDER, help="arguments of pytest instead")
    given = parser.parse_args()
    which = given.which or (SANITIZERS if given.long else ["address"])
    passed = [check(SANITIZERS[name], given.long, given.tests) for name in which]
    sys.exit(0 if all(passed) else 1)


if __name__ == "__main__":
    main()
