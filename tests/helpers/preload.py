"""Libraries that a test compiles and loads before all others, in front of what it watches."""

import shutil
import subprocess
import sys

import pytest


def preloaded(folder, source, compiler, *options):
    """The library of a source, for LD_PRELOAD; the test is skipped where none can be made."""
    if not sys.platform.startswith("linux") or shutil.which(compiler) is None:
        pytest.skip(f"works through LD_PRELOAD, with a compiler ({compiler})")
    file, library = folder / "shim.source", folder / "shim.so"
    file.write_text(source)
    command = [compiler, "-shared", "-fPIC", "-O1", *options, "-o", str(library)]
    language = "c++" if compiler == "c++" else "c"
    subprocess.run([*command, "-x", language, str(file), "-ldl"], check=True, timeout=60)
    return library
