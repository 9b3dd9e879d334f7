"""Fresh interpreters, which can import what lies in this folder."""

import os
import subprocess
import sys
from pathlib import Path


def environment(**changes):
    """This process's environment variables, with the helpers importable and with changes."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path), **changes}


def python(script, *arguments, **changes):
    """Run a script in a fresh interpreter, with changes of its environment variables."""
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**changes),
    )
