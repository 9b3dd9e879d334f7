"""The tables of docs/migration.md: the other libraries' defaults are theirs, and results the same."""

import ast
import functools
import importlib
import importlib.util
import inspect
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import fusedstep as fs

PAGE = Path(__file__).parents[2] / "docs" / "migration.md"
VERSIONS = {"torch.optim": "2.13", "optax": "0.2.8", "keras.optimizers": "3.15"}
NEEDS = {"torch.optim": ("torch",), "optax": ("jax", "optax"), "keras.optimizers": ("jax", "keras")}


class Row(NamedTuple):
    """A row of a table: their call, and what is the same here, if anything is."""

    library: str
    name: str
    shown: dict[str, Any]  # their arguments by name, with the defaults that have one
    ours: str
    is_same: bool


def shown(arguments):
    """The arguments that the page names, with their defaults; some have none."""
    call = ast.parse(f"f({arguments})", mode="eval").body
    named = {argument.id: inspect.Parameter.empty for argument in call.args}
    return named | {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}


def rows():
    if not PAGE.exists():
        return
    for library in VERSIONS:
        head = f"\n| {library} | Arguments and defaults | Here | Note |\n"
        table = PAGE.read_text().split(head)[1].split("\n\n")[0]
        for line in table.splitlines()[1:]:
            names, arguments, here, _ = (cell.strip() for cell in line[1:-1].split(" |"))
            if here == "no":
                continue
            name, arguments = names.strip("`"), arguments.strip("`")
            (ours,) = re.findall(r"`([^`]+)`", here)
            yield Row(library, name, shown(arguments), ours, not here.startswith("nearly: "))


ROWS = list(rows())
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.library}.{row.name}")


@pytest.fixture(autouse=True)
def kerass_settings(monkeypatch, tmp_path):
    """Keras reads them when it is imported, and writes a file into its home."""
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))


def library_of(row):
    """Their module; the test is skipped without it, or with another version."""
    for need in NEEDS[row.library]:
        if not importlib.util.find_spec(need):
            pytest.skip(f"{need} is not installed")
        module = importlib.import_module(need)
    if not module.__version__.startswith(VERSIONS[row.library]):
        pytest.skip(f"the page is about {row.library} {VERSIONS[row.library]}")
    return functools.reduce(getattr, row.library.split(".")[1:], module)


def theirs(row):
    return functools.reduce(getattr, row.name.split("."), library_of(row))


@pytest.mark.skipif(not PAGE.exists(), reason="the documents are not here")
def test_the_page_says_which_versions_it_is_about():
    assert "PyTorch 2.13, optax 0.2.8, Keras 3.15." in PAGE.read_text()
    assert len(ROWS) > 35


@every_row
def test_defaults_are_theirs(row):
    parameters = inspect.signature(theirs(row)).parameters
    assert {name: parameters[name].default for name in row.shown} == row.shown


@every_row
def test_what_is_named_exists_here(row):
    for name, values in variations(row).items():
        assert isinstance(ours(row, {"w": np.ones(3)}, values), fs.Optimizer), name


def ours(row, params, values):
    """The optimizer of the column *Here*, with these values of their arguments."""
    if "(" not in row.ours:  # their arguments are ours
        return getattr(fs, row.ours)(params, **values)
    call = ast.parse(row.ours, mode="eval").body
    call.args = [ast.Name("params", ast.Load())]
    expression = ast.fix_missing_locations(ast.Expression(call))
    names = {name: getattr(fs, name) for name in fs.__all__} | values
    return eval(compile(expression, row.ours, "eval"), {"params": params}, names)


def variations(row):
    """Their arguments: the defaults, and then each one that the column *Here* uses with another value."""
    defaults = {
        name: 0.01 if name == "learning_rate" else default for name, default in row.shown.items()
    }
    used = (
        set(defaults)
        if "(" not in row.ours
        else {node.id for node in ast.walk(ast.parse(row.ours)) if isinstance(node, ast.Name)}
    )
    varied = {"as shown": defaults}
    for name in sorted(used & set(defaults) - {"amsgrad"}):
        values = {name: other_than(defaults[name])}
        if name in ("nesterov", "dampening"):  # which need it
            values["momentum"] = 0.9
        varied[name] = defaults | values
    return varied


def other_than(value):
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return tuple(map(other_than, value))
    if not value:
        return 0.4
    return 0.9 * value


def by_ours(row, start, grads, values):
    params = {"w": start.copy()}
    opt = ours(row, params, values)
    for grad in grads:
        opt.step({"w": grad})
    return params["w"]


def by_torch(rule, start, grads, values):
    import torch

    param = torch.nn.Parameter(torch.from_numpy(start.copy()))
    opt = rule([param], **values)
    for grad in grads:
        param.grad = torch.from_numpy(grad.copy())
        opt.step()
    return param.detach().numpy()


def by_optax(rule, start, grads, values):
    import jax
    import optax

    with jax.enable_x64(True):
        param = jax.numpy.asarray(start)
        opt = rule(**values)
        state = opt.init(param)
        for grad in grads:
            updates, state = opt.update(jax.numpy.asarray(grad), state, param)
            param = optax.apply_updates(param, updates)
        return np.asarray(param)


def by_keras(rule, start, grads, values):
    import jax
    import keras

    with jax.enable_x64(True):
        variable = keras.Variable(start, dtype="float64")
        opt = rule(**values)
        for grad in grads:
            opt.apply_gradients([(jax.numpy.asarray(grad), variable)])
        return np.asarray(variable)


RUN = {"torch.optim": by_torch, "optax": by_optax, "keras.optimizers": by_keras}
TOLERANCE = 1e-6  # all of them keep some scalars in float32


@pytest.mark.parametrize(
    "row",
    [row for row in ROWS if row.is_same],
    ids=lambda row: f"{row.library}.{row.name}",
)
def test_results_are_the_same(row):
    rule = theirs(row)
    rng = np.random.default_rng(0)
    start, grads = rng.standard_normal(64), rng.standard_normal((20, 64))
    grads[:, ::2] *= 1e-4  # where eps matters
    for name, values in variations(row).items():
        theirs_moved = RUN[row.library](rule, start, grads, values) - start
        ours_moved = by_ours(row, start, grads, values) - start
        np.testing.assert_allclose(
            ours_moved,
            theirs_moved,
            rtol=TOLERANCE,
            atol=TOLERANCE * np.abs(theirs_moved).max(),
            err_msg=f"{row.name}, {name}",
        )
