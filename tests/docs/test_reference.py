"""Every public name is on a page of the reference, and every rule beside its formula."""

import importlib
import re
from types import ModuleType

import pytest

import fusedstep as fs
import pages
from fusedstep._definition import registry

MODULES = ("", ".checkpoint", ".data", ".ema", ".gallery", ".optax", ".schedules", ".torch")
TEXTS = {
    pages.name(page): page.read_text(encoding="utf-8")
    for folder in ("rules", "reference")
    for page in sorted((pages.DOCS / folder).glob("*.md"))
}
# What mkdocstrings is told to document.
SHOWN = re.findall(r"^::: ([\w.]+)$", "\n".join(TEXTS.values()), re.MULTILINE)


def imported(path):
    """The object at a path; needs the library that its module needs."""
    if re.match(r"fusedstep\.(torch|optax)\b", path):
        pytest.importorskip(path.split(".")[1], reason=f"needs {path.split('.')[1]}")
        importlib.import_module(".".join(path.split(".")[:2]))
    here = importlib.import_module("fusedstep")
    for name in path.split(".")[1:]:
        here = (
            getattr(here, name)
            if hasattr(here, name)
            else importlib.import_module(f"{here.__name__}.{name}")
        )
    return here


@pytest.mark.parametrize("path", SHOWN)
def test_what_the_reference_shows_is_there(path):
    assert imported(path).__doc__


@pytest.mark.parametrize("module", [f"fusedstep{name}" for name in MODULES])
def test_every_public_name_is_shown(module):
    public = imported(module)
    elsewhere = {"fusedstep.torch", "fusedstep.optax"} - {module}
    shown = [imported(path) for path in SHOWN if path.rpartition(".")[0] not in elsewhere]
    listed = (
        TEXTS.get(f"reference/{module.rpartition('.')[2]}.md", "")
        + TEXTS["reference/configuration.md"]
    )
    missing = [
        name
        for name in public.__all__
        if not isinstance(value := getattr(public, name), ModuleType)
        and not any(value is one for one in shown)
        and f"`{name}`" not in listed
        and f"`{module}.{name}`" not in listed
    ]
    assert missing == []


def test_every_public_module_has_a_page():
    assert {name for name in fs.__all__ if isinstance(getattr(fs, name), ModuleType)} <= {
        module.removeprefix("fusedstep.") for module in SHOWN if module.count(".") == 1
    } | {module[1:] for module in MODULES}
    assert all(
        f"reference/{module[1:]}.md" in TEXTS for module in (*MODULES, ".functional") if module
    )


@pytest.mark.parametrize("rule", fs.available())
def test_every_rule_has_its_formula_and_its_docstring(rule):
    cls = registry[rule]
    page = TEXTS[f"rules/{cls.__module__.rpartition('.')[2]}.md"]
    section = re.search(rf"^## {cls.__name__}\n(.*?)(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)[1]
    formula, _, rest = section.partition(f"::: fusedstep.{cls.__name__}\n")
    assert rest or section.endswith(f"::: fusedstep.{cls.__name__}\n")
    (latex,) = re.findall(r"^\$\$\n(.+?)^\$\$$", formula, re.DOTALL | re.MULTILINE)
    assert re.search(r"\bp_\{?t|\by_t", latex)


def test_the_overview_has_a_row_for_every_rule():
    rows = re.findall(
        r"^\| \[`(\w+)`\]\((\w+)\.md#(\w+)\) \|", TEXTS["rules/index.md"], re.MULTILINE
    )
    assert sorted(row[0].lower() for row in rows) == fs.available()
    for name, page, anchor in rows:
        assert f"\n## {name}\n" in TEXTS[f"rules/{page}.md"]
        assert anchor == name.lower()


def test_the_functions_and_the_order_of_their_arrays():
    rows = re.findall(
        r"^\| `(\w+)` \| `p, g(.*?)` \|", TEXTS["reference/functional.md"], re.MULTILINE
    )
    states = {rule: re.findall(r"\w+", arrays) for rule, arrays in rows}
    assert states == {rule: max(registry[rule].info.states, key=len) for rule in fs.available()}
