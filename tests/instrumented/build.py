"""The package, built with instruments in its compiled core: sanitizers, coverage."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11

ROOT = Path(__file__).parents[2]


def run(*command, **settings):
    """Run a command, which must end well."""
    return subprocess.run([str(word) for word in command], check=True, cwd=ROOT, **settings)


def compiler_file(name):
    """A file that the compiler comes with, such as the library of a sanitizer."""
    compiler = os.environ.get("CXX", "c++")
    words = [compiler, f"-print-file-name={name}"]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout.strip()


def environment(*packages, **changes):
    """The variables of an interpreter that imports what lies in these folders; it finds our tools."""
    path = [*map(str, packages), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": os.pathsep.join(path),
        **changes,
    }


def package(folder, preset, **options):
    """The package in a folder of its own, whose core is built by a preset with these options."""
    built, installed = Path(folder) / "build", Path(folder) / "package"
    found = {
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
        **options,
    }
    defines = [f"-D{name}={value}" for name, value in found.items()]
    tools = environment(installed)
    run("cmake", "--preset", preset, "-B", built, *defines, env=tools, stdout=subprocess.DEVNULL)
    run("cmake", "--build", built, "--target", "_core", env=tools, stdout=subprocess.DEVNULL)
    install = ("--install", built, "--component", "python", "--prefix", installed)
    run("cmake", *install, env=tools, stdout=subprocess.DEVNULL)
    shutil.copytree(ROOT / "python/fusedstep", installed / "fusedstep", dirs_exist_ok=True)
    return installed
