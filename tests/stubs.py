"""The stub of the compiled module, as it should be committed; run as a script to commit it anew."""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

COMMITTED = Path(__file__).parents[1] / "python" / "fusedstep" / "_core.pyi"


def generate() -> str:
    """What the installed module looks like, without values that differ from build to build."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pybind11_stubgen", "fusedstep._core", "-o", folder]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        text = (Path(folder) / "fusedstep" / "_core.pyi").read_text()
    text = re.sub(r"^(\w+: str) = .*$", r"\1", text, flags=re.MULTILINE)
    # mypy --strict asks for the parameters of generic arrays.
    return text.replace("numpy.ndarray", "numpy.typing.NDArray[typing.Any]").replace(
        "import numpy\n", "import numpy.typing\n"
    )


if __name__ == "__main__":
    COMMITTED.write_text(generate())
