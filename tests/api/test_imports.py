"""Imports and includes run one way: no circles, and no layer uses one above it."""

import ast
import graphlib
import re
import sys
from pathlib import Path

import pytest

import fusedstep

ROOT = next(folder for folder in Path(__file__).parents if (folder / "pyproject.toml").exists())
PACKAGE = ROOT / "python" / "fusedstep"
CPP = ROOT / "cpp"

# Modules and folders of the package. Each may import those of the lines above it, and the others of
# its own folder. What is not listed (adapters, the command line) may import all of these; none of
# these may import it.
LAYERS = (
    ("_core", "_cuda", "_imported"),
    ("_errors", "_holders", "_messages"),
    ("_html",),
    ("_autograd", "_checks", "_environment", "_slips", "_specs", "_tree", "cuda"),
    ("_decay_mask", "_options", "data"),
    ("_formats", "schedules", "typing"),
    ("_lent",),
    ("_pipeline",),
    ("_rule", "_spaces"),
    ("_config", "_docstring", "_group"),
    ("_definition", "_flat", "_snapshot"),
    ("_engine", "checkpoint"),
    ("_resume", "_setup", "_steps", "ema"),
    ("_repr", "_state"),
    ("_one_step",),
    ("optimizer",),
    ("_create", "_function", "rules"),
    ("functional",),
    ("__init__",),
)
LAYER_OF = {name: i for i, layer in enumerate(LAYERS) for name in layer}
OUTERMOST = len(LAYERS)

# The folders of cpp/, each with those that it may include. What is directly in cpp/ has no layer.
INCLUDES = {
    "numeric": set(),
    "formats": {"numeric"},
    "rules": {"numeric"},
    "kernel": {"formats", "numeric", "rules"},
    "threads": {"numeric"},
    "engine": {"formats", "kernel", "numeric", "rules", "threads"},
    "cuda": {"engine", "formats", "kernel", "numeric", "rules"},
    "bindings": {"cuda", "engine", "formats", "kernel", "numeric", "rules", "threads"},
}


def python_modules():
    """The files of the package, by dotted name within it; the package itself is __init__."""
    files = {path.relative_to(PACKAGE).with_suffix(""): path for path in PACKAGE.rglob("*.py")}
    return {".".join(p.parts).removesuffix(".__init__"): path for p, path in files.items()}


def imported(path):
    """The dotted names that a file imports, TYPE_CHECKING and importlib included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = path.relative_to(PACKAGE.parent).parts[: -node.level]
            module = ".".join((*parents, node.module or "")) if node.level else node.module
            yield from (f"{module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from (a.value for a in node.args if isinstance(a, ast.Constant))


def within(name, modules):
    """The module of the package that an imported name is in; None where it is no module of it."""
    parts = name.split(".")
    if parts[0] != "fusedstep":
        return None
    for end in range(len(parts), 1, -1):
        module = ".".join(parts[1:end])
        if module in modules or module in LAYERS[0]:
            return module
    return "__init__"


def python_edges():
    modules = python_modules()
    return {
        name: {found for i in imported(path) if (found := within(i, modules))} - {name}
        for name, path in modules.items()
    }


def included(path):
    """The files of cpp/ that a file includes."""
    text = path.read_text(encoding="utf-8")
    for name in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text, re.MULTILINE):
        found = [p for p in (path.parent / name, CPP / name) if p.exists()]
        if found:
            yield found[0].resolve().relative_to(CPP).as_posix()


def cpp_edges():
    files = [path for path in CPP.rglob("*") if path.suffix in {".cpp", ".hpp", ".cu", ".cuh"}]
    return {path.relative_to(CPP).as_posix(): {*included(path)} for path in files}


def check_order(edges):
    assert edges
    graphlib.TopologicalSorter(edges).prepare()  # CycleError names the circle


def test_no_module_imports_itself_through_others():
    check_order(python_edges())


def test_no_layer_imports_one_above_it():
    back = []
    for name, uses in python_edges().items():
        own = name.split(".")[0]
        for other in uses:
            top = other.split(".")[0]
            if top != own and LAYER_OF.get(top, OUTERMOST) >= LAYER_OF.get(own, OUTERMOST + 1):
                back.append(f"{name} imports {other}")
    assert back == []


def test_the_core_needs_numpy_alone():
    allowed = {*sys.stdlib_module_names, "fusedstep", "numpy", "typing_extensions"}
    foreign = [
        f"{name} imports {found}"
        for name, path in python_modules().items()
        if name.split(".")[0] in LAYER_OF
        for found in imported(path)
        if found.split(".")[0] not in allowed
    ]
    assert foreign == []


def test_what_is_shown_is_what_is_public():
    assert dir(fusedstep) == sorted(fusedstep.__all__)
    public = [getattr(fusedstep, name) for name in fusedstep.__all__]
    assert not [o for o in public if "._" in getattr(o, "__module__", "")]


@pytest.mark.skipif(not CPP.exists(), reason="the sources are not here")
def test_no_file_includes_itself_through_others():
    check_order(cpp_edges())


@pytest.mark.skipif(not CPP.exists(), reason="the sources are not here")
def test_no_folder_includes_one_above_it():
    back = []
    for name, uses in cpp_edges().items():
        own = Path(name).parts[0]
        back += [
            f"{name} includes {other}"
            for other in uses
            if own in INCLUDES
            and (top := Path(other).parts[0]) in INCLUDES
            and top not in {own, *INCLUDES[own]}
        ]
    assert back == []
