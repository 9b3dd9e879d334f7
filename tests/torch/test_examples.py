"""Each script of examples/ runs, and its loss falls."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = sorted(
    {*FOLDER.glob("*.py")} - {FOLDER / "torch_fsdp2.py"}
)  # test_distributed.py has it
if not EXAMPLES:
    pytest.skip("the examples are not here", allow_module_level=True)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_loss_falls(path):
    if path.stem == "hf_trainer" and importlib.util.find_spec("transformers") is None:
        pytest.skip("Transformers is not installed")
    done = subprocess.run(
        [sys.executable, path], check=False, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    losses = [float(loss) for loss in re.findall(r"loss (\d\S*)", done.stdout)]
    assert len(losses) > 1
    assert losses[-1] < losses[0] / 2
