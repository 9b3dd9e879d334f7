"""The project's own build of what tests alone need: one tree, which later sessions find built."""

import fcntl
import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pybind11
import pytest

SOURCES = Path(__file__).parents[2]
# Tools of this environment are found whether or not it is activated.
ENVIRONMENT = {
    **os.environ,
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}
# The flags are those of the wheel: these are its objects, and ccache has them where it was built.
OPTIONS = [
    "-DFUSEDSTEP_CUDA_EMULATION=ON",
    "-DFUSEDSTEP_WERROR=ON",
    f"-DPython_EXECUTABLE={sys.executable}",
    f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
]


@contextmanager
def one_process_at_a_time(folder):
    """Others that come to the same folder wait; one that dies lets go."""
    with (folder / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run(*command):
    """What a command prints; it must end well."""
    done = subprocess.run(
        [str(word) for word in command],
        check=False,
        capture_output=True,
        text=True,
        timeout=900,
        env=ENVIRONMENT,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout


class Tree:
    """A folder that the sources are built in, target by target."""

    def __init__(self, folder, *options):
        self.folder, self.options = folder, options or OPTIONS
        self._is_configured = False

    def build(self, *targets):
        """Build these where they are not built yet."""
        with one_process_at_a_time(self.folder):
            if not self._is_configured:  # the tree may be that of another environment
                self._is_configured = True
                run("cmake", "-S", SOURCES, "-B", self.folder, "-G", "Ninja", *self.options)
            run("cmake", "--build", self.folder, "-j2", "--target", *targets)

    def module(self):
        """The file of the CUDA module whose device the CPU plays."""
        self.build("_cuda")
        (module,) = self.folder.glob("_cuda*.so")
        return module


@pytest.fixture(scope="session")
def native_tree(tmp_path_factory):
    """A tree that all processes share; without the sources, a test is skipped."""
    if not (SOURCES / "cpp").exists():
        pytest.skip("the sources are not here")
    if own := os.environ.get("FUSEDSTEP_NATIVE_TREE"):  # one with instruments
        folder = Path(own)
    elif os.access(SOURCES, os.W_OK):
        folder = SOURCES / "build" / f"tests-{sys.implementation.cache_tag}"
    else:
        folder = tmp_path_factory.getbasetemp() / "native"
    folder.mkdir(parents=True, exist_ok=True)
    return Tree(folder)
