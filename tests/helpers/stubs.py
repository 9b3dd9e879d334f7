"""The stubs of the compiled modules, as they should be committed; run as a script to commit them anew."""

import re
import tempfile
from pathlib import Path

from interpreters import python
from native_tree import Tree

COMMITTED = Path(__file__).parents[2] / "python" / "fusedstep"

# The module for CUDA is not installed as a rule; the emulated one has the same face.
LOAD_EMULATED = """
import emulated_cuda
emulated_cuda.load({module!r})
"""


def generate(name: str, prelude: str = "") -> str:
    """What a module looks like, without values that differ from build to build."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [f"fusedstep.{name}", "-o", folder]
        program = f"{prelude}\nimport pybind11_stubgen\npybind11_stubgen.main({arguments!r})"
        done = python(program)
        assert done.returncode == 0, done.stderr
        text = (Path(folder) / "fusedstep" / f"{name}.pyi").read_text()
    text = re.sub(r"^(\w+: str) = .*$", r"\1", text, flags=re.MULTILINE)
    # mypy --strict asks for the parameters of generic arrays.
    return text.replace("numpy.ndarray", "numpy.typing.NDArray[typing.Any]").replace(
        "import numpy\n", "import numpy.typing\n"
    )


def generate_cuda(module: Path) -> str:
    """The same of the emulated module in a file."""
    return generate("_cuda", LOAD_EMULATED.format(module=str(module)))


if __name__ == "__main__":
    (COMMITTED / "_core.pyi").write_text(generate("_core"))
    with tempfile.TemporaryDirectory() as built:
        (COMMITTED / "_cuda.pyi").write_text(generate_cuda(Tree(Path(built)).module()))
