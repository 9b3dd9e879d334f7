"""The notebooks run from top to bottom, and are stored without what they show."""

import importlib.util
import json
import os
import re
from pathlib import Path

import pytest

NOTEBOOKS = Path(__file__).parents[2] / "examples" / "notebooks"
every_notebook = pytest.mark.parametrize(
    "path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem
)
NEEDED = ("nbclient", "nbformat", "ipykernel", "matplotlib", "torch")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
# What each shows, in order: of figures and animations the kind, of optimizers their name.
SHOWN = {
    "lecture": ["png", "png", "gif", "png", "png", "Cosine", "Adam"],
    "numpy_training": ["AdamW", "png", "png"],
    "pytorch": ["AdamW", "png"],
}


def test_there_is_a_notebook_for_each():
    assert sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb")) == sorted(SHOWN)


@every_notebook
def test_notebooks_are_stored_without_outputs(path):
    stored = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in stored["cells"] if cell["cell_type"] == "code"]
    assert code
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"]] == []
    assert path.stat().st_size < 20_000


@every_notebook
@pytest.mark.skipif(bool(MISSING), reason=f"notebooks need {', '.join(MISSING)}")
def test_notebooks_run_and_show_their_figures(path, tmp_path, monkeypatch):
    import nbclient
    import nbformat

    # Warnings are errors, but those of the kernel's own start.
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path / "runtime"))
    notebook = nbformat.read(path, as_version=4)
    strict = nbformat.v4.new_code_cell("import warnings; warnings.simplefilter('error')")
    notebook.cells.insert(0, strict)
    client = nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env=os.environ.copy())  # raises what a cell does
    outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
    assert [out for out in outputs if out.get("name") == "stderr"] == []
    assert [*filter(None, map(shown, outputs))] == SHOWN[path.stem]


def shown(output):
    """What an output shows beside text."""
    data = output.get("data", {})
    document = data.get("text/html", "")
    if "image/png" in data:
        return "png"
    if "data:image/gif" in document:
        return "gif"
    found = re.search(r'class="fusedstep"><div><b>(\w+)', document)
    return found and found[1]
