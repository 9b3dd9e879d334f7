"""What pages say in more than one place, or of all that there is, is so."""

import re

import pytest

import fusedstep as fs
from pages import DOCS, ROOT

pytestmark = pytest.mark.skipif(not DOCS.exists(), reason="the documents are not here")


def text(name):
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["index.md", "comparison.md"])
def test_the_number_of_rules(page):
    (number,) = re.findall(r"by (\d+) rules|^\| Rules \| (\d+) \|", text(page), re.MULTILINE)
    assert int("".join(number)) == len(fs.available())


@pytest.mark.parametrize("rule", fs.available())
def test_which_optimizer_when_speaks_of_every_rule(rule):
    assert re.search(rf"\b{rule}\b", text("choosing.md"), re.IGNORECASE)


@pytest.mark.parametrize("name", fs.schedules.__all__)
def test_the_guide_names_every_schedule(name):
    assert f"`{name}`" in text("guide.md")


def loops(page):
    return re.findall(r"^\| (?:NumPy|torch) loop.*$", page, re.MULTILINE)


def test_the_readmes_table_is_that_of_the_page_about_performance():
    readme = loops((ROOT / "README.md").read_text(encoding="utf-8"))
    assert len(readme) == 7
    assert loops(text("performance.md")) == readme


@pytest.mark.parametrize("line", loops(text("performance.md")) if DOCS.exists() else [])
def test_the_tables_steps_are_those_of_the_measurements(line):
    """Microseconds of our step; ratios are rounded there."""
    case, step, *_ = line.strip("| ").split(" | ")
    names = {"MLP ": "", " k": "k", " M": "M", "beside one busy process": "1 busy process"}
    for ours, theirs in names.items():
        case = case.replace(ours, theirs)
    measured = (ROOT / "bench" / "README.md").read_text(encoding="utf-8")
    assert f"| {case} | {step} |" in measured
