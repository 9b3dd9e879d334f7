"""Makes the mistakes of the list one by one, and asks the tests whether they notice:

    python tests/mutants/run.py [--long] [NAME ...]

A NAME may be a pattern such as 'adam-*'. Without --long a few, the same each time; with it all. It
works in a copy of the sources in a temporary folder, which is built once, without optimization and
for the baseline instruction set alone, and then as far as each mistake requires; the tests named
beside a mutant must pass without it, and fail with it. Exits with 1 where a mutant survives, or the
list no longer fits the sources. It needs what the tests need, and a compiler. Where no mutant is of
C++, the module that is installed serves.
"""

import argparse
import fnmatch
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import mutants
from mutant import ROOT, Mutant

# The tools of this environment, whether or not it is activated; and no bytecode, which would be of
# the file before a mistake of the same length in the same second.
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONHASHSEED": "0",
}
SOURCES = ["cpp", "cmake", "docs", "python", "tests", "CMakeLists.txt", "pyproject.toml"]
FAILED = 1  # pytest's exit code where tests failed, and not something around them
LONGEST = 600  # seconds


class Tree:
    """A copy of the sources, with the compiled module among those of Python."""

    def __init__(self, folder: Path, *, is_compiled: bool) -> None:
        # What ccache has compiled in another folder serves in this one.
        self._environment = {**ENVIRONMENT, "CCACHE_BASEDIR": str(folder), "CCACHE_NOHASHDIR": "1"}
        self.sources, self.build = folder / "sources", folder / "build"
        for name in SOURCES:
            if (ROOT / name).is_dir():
                ignored = shutil.ignore_patterns("__pycache__", "*.so")
                shutil.copytree(ROOT / name, self.sources / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, self.sources / name)
        self._package = self.sources / "python" / "fusedstep"
        if is_compiled:
            self._configure()
            self.compile()
        else:
            shutil.copy(importlib.util.find_spec("fusedstep._core").origin, self._package)
        found = self._run(sys.executable, "-c", "import fusedstep; print(fusedstep.__file__)")
        if self.sources not in Path(found.strip()).parents:
            sys.exit(f"expected to test the copy in {self.sources}, got {found.strip()}")

    def _configure(self) -> None:
        pybind11 = self._run(sys.executable, "-m", "pybind11", "--cmakedir").strip()
        self._run(
            *("cmake", "-S", self.sources, "-B", self.build, "-G", "Ninja"),
            *("-DCMAKE_BUILD_TYPE=Debug", "-DCMAKE_CXX_FLAGS_DEBUG=-O0"),
            *("-DFUSEDSTEP_BASELINE_ONLY=ON", f"-DPython_EXECUTABLE={sys.executable}"),
            f"-DCMAKE_CXX_COMPILER_LAUNCHER={shutil.which('ccache') or ''}",
            *(f"-Dpybind11_DIR={pybind11}", f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={self._package}"),
        )

    def compile(self) -> None:
        self._run("cmake", "--build", self.build, "-j2")

    def test(self, tests: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
        options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header"]
        return self._start(sys.executable, "-m", "pytest", *options, *tests)

    def _run(self, *command: object) -> str:
        done = self._start(*command)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
        return done.stdout

    def _start(self, *command: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(word) for word in command],
            check=False,
            capture_output=True,
            text=True,
            cwd=self.sources,
            env={**self._environment, "PYTHONPATH": str(self.sources / "python")},
            timeout=LONGEST,
        )


def outcome(tree: Tree, mutant: Mutant) -> str:
    """ "killed", or what happened instead."""
    path = tree.sources / mutant.file
    text = path.read_text()
    path.write_text(mutant.applied_to(text))
    try:
        if mutant.is_compiled:
            tree.compile()
        done = tree.test(mutant.tests)
    except subprocess.TimeoutExpired:
        return f"ran for {LONGEST} s"
    except RuntimeError as error:
        return f"does not compile: {error}"
    finally:
        path.write_text(text)
    if done.returncode == FAILED or done.returncode < 0:  # below 0: by a signal
        return "killed"
    return "SURVIVED" if done.returncode == 0 else f"no tests ran: {done.stdout[-1000:]}"


def chosen(names: list[str], *, long: bool) -> list[Mutant]:
    """The mutants to try, those that are compiled last, file by file."""
    found = [
        mutant
        for mutant in mutants.ALL
        if any(fnmatch.fnmatchcase(mutant.name, name) for name in names or ["*"])
        and (names or long or mutant.name in mutants.SAMPLE)
    ]
    if not found:
        sys.exit(f"no mutant is named so; there are:\n  {'  '.join(m.name for m in mutants.ALL)}")
    return sorted(found, key=lambda mutant: mutant.is_compiled)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true", help="all of them")
    parser.add_argument("names", nargs="*", metavar="NAME", help="a name, or a pattern of names")
    arguments = parser.parse_args()
    tried = chosen(arguments.names, long=arguments.long)
    start, survived = time.monotonic(), []
    with tempfile.TemporaryDirectory() as folder:
        tree = Tree(Path(folder), is_compiled=any(mutant.is_compiled for mutant in tried))
        print(f"ready in {time.monotonic() - start:.0f} s", flush=True)
        broken = {tests for tests in {m.tests for m in tried} if tree.test(tests).returncode != 0}
        print(f"tested without a mutant ({time.monotonic() - start:.0f} s)\n", flush=True)
        for mutant in tried:
            came = "its tests fail without it" if mutant.tests in broken else outcome(tree, mutant)
            print(f"{mutant.name:44} {mutant.file:38} {came}", flush=True)
            if came != "killed":
                survived.append(mutant.name)
    print(f"\n{len(tried) - len(survived)} of {len(tried)} killed ", end="")
    print(f"in {time.monotonic() - start:.0f} s{': not ' * bool(survived)}{', '.join(survived)}")
    return bool(survived)


if __name__ == "__main__":
    sys.exit(main())
