"""The project's own build of what tests alone need: one tree a session, also of several processes."""

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
# The kernels have flags of their own, those of the wheel; what is around them is compiled in less time.
OPTIONS = [
    "-DFUSEDSTEP_CUDA_EMULATION=ON",
    "-DFUSEDSTEP_WERROR=ON",
    "-DCMAKE_CXX_FLAGS_RELEASE=-O1 -DNDEBUG",
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

    def build(self, *targets):
        """Build these where they are not built yet."""
        with one_process_at_a_time(self.folder):
            if not (self.folder / "build.ninja").exists():
                run("cmake", "-S", SOURCES, "-B", self.folder, "-G", "Ninja", *self.options)
            run("cmake", "--build", self.folder, "-j2", "--target", *targets)

    def module(self):
        """The file of the CUDA module whose device the CPU plays."""
        self.build("_cuda")
        (module,) = self.folder.glob("_cuda*.so")
        return module


@pytest.fixture(scope="session")
def native_tree(tmp_path_factory):
    """A tree that all processes of the session share; without the sources, a test is skipped."""
    if not (SOURCES / "cpp").exists():
        pytest.skip("the sources are not here")
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    folder = folder / "native"
    folder.mkdir(exist_ok=True)
    return Tree(folder)
