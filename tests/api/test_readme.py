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
    first, narrow, model, saving, grouped, whole = blocks
    names = {}
    exec(first, names)  # noqa: S102
    assert np.allclose(names["params"]["w"], [1, -2, 0.5], atol=1e-3)
    assert np.allclose(names["params"]["b"], 3, atol=1e-3)
    assert capsys.readouterr().out.startswith("{'w': array(")
    own = dict(names)
    exec(narrow, own)  # noqa: S102
    assert own["opt"].groups[0]["state_dtype"] == "8bit"
    if importlib.util.find_spec("torch"):
        own = dict(names)
        exec(model, own)  # noqa: S102
        after = own["model"](own["torch"].from_numpy(own["x"])).squeeze(1).detach().numpy()
        assert np.mean((after - own["y"]) ** 2) < own["loss"].item()
    before = names["opt"], names["params"]
    exec(saving, names)  # noqa: S102
    assert capsys.readouterr().out == f"{3 * len(names['batches'])} 0.25\n"
    grads = {"w": np.ones(3, np.float32), "b": np.ones(1, np.float32)}
    for opt in (before[0], names["opt"]):
        opt.step(grads)
    assert names["opt"].step_count == 3 * len(names["batches"]) + 1
    for name, param in names["params"].items():
        assert param is not before[1][name]
        assert same_bits(param, before[1][name])
    own = dict(names)
    exec(grouped, own)  # noqa: S102
    seen = [(group["lr"], group["weight_decay"]) for group in own["opt"].groups]
    assert seen == [(0.001, 0.1), (0.001, 0.0), (0.01, 0.1), (0.01, 0.0)]
    exec(whole, names)  # noqa: S102
    assert names["result"].applied
    assert names["result"].grad_norm > 0
    assert names["opt"].step_count == len(names["batches"])
    assert names["loss"] < 1e-5
    assert not any(np.any(grad) for grad in names["grads"].values())
    assert capsys.readouterr().out == ""
    # The branch that no gradient of the example takes.
    names["x"][0, 0] = np.nan
    exec(whole, names)  # noqa: S102
    assert "the norm is nan" in capsys.readouterr().out
    assert names["opt"].step_count == len(names["batches"]) - 1
    assert all(np.all(np.isfinite(param)) for param in names["params"].values())


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
def test_the_readme_has_a_row_for_every_rule():
    rows = re.findall(r"^\| [\w -]+ \| `(\w+)` \|", README.read_text(), re.MULTILINE)
    assert sorted(row.lower() for row in rows) == fs.available()


@pytest.mark.skipif(not README.exists(), reason="the README is not here")
@pytest.mark.parametrize("name", fs.schedules.__all__)
def test_the_readme_names_every_schedule(name):
    assert f"`{name}`" in README.read_text()


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
