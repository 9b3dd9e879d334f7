"""What the documents show is what happens."""

import doctest
import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
def test_the_readmes_examples(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    first, model, saving, narrow = blocks
    names = {}
    exec(first, names)  # noqa: S102
    assert np.allclose(names["params"]["w"], [1, -2, 0.5], atol=1e-3)
    assert np.allclose(names["params"]["b"], 3, atol=1e-3)
    assert capsys.readouterr().out.startswith("{'w': array(")
    if importlib.util.find_spec("torch"):
        own = dict(names)
        exec(model, own)  # noqa: S102
        after = own["model"](own["torch"].from_numpy(own["x"])).squeeze(1).detach().numpy()
        assert np.mean((after - own["y"]) ** 2) < own["loss"].item()
    opt, params = names["opt"], names["params"]
    # What the saving example calls another process.
    names["params"] = {name: np.zeros_like(param) for name, param in params.items()}
    names["opt"] = fs.Adam(names["params"], lr=names["schedule"])
    save, load = saving.split("\n\n")
    exec(save, {**names, "opt": opt})  # noqa: S102
    exec(load, names)  # noqa: S102
    assert capsys.readouterr().out == f"{3 * len(names['batches'])} 0.25\n"
    grads = {"w": np.ones(3, np.float32), "b": np.ones(1, np.float32)}
    for each in (opt, names["opt"]):
        each.step(grads)
    assert names["opt"].step_count == 3 * len(names["batches"]) + 1
    for name, param in names["params"].items():
        assert param is not params[name]
        assert same_bits(param, params[name])
    exec(narrow, names)  # noqa: S102
    assert names["opt"].groups[0]["state_dtype"] == "8bit"


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


@pytest.mark.parametrize(
    "module",
    [fs, fs.checkpoint, fs.ema, fs.data.batches, fs.data.standardizer, fs.schedules],
    ids=lambda m: m.__name__,
)
def test_docstring_examples(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", fs.schedules.__all__)
def test_examples_of_schedules(name):
    module = sys.modules[getattr(fs.schedules, name).__module__]
    (example,) = doctest.DocTestFinder(recurse=False).find(
        getattr(fs.schedules, name), name, module, vars(fs.schedules) | {}
    )
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0
