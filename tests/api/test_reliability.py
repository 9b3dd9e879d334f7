"""docs/reliability.md: every fault of its list has a test, and every test that it names is there."""

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
DOCUMENT = TESTS.parent / "docs/reliability.md"
if not DOCUMENT.exists():
    pytest.skip("the documents are not here", allow_module_level=True)
TEXT = DOCUMENT.read_text(encoding="utf-8")
# Rows that start with a number.
FAULTS = [int(number) for number in re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE)]


def functions(path):
    """The names of a file's tests, also of those in classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]


def faults_of(name):
    """The numbers that a test carries in its name: test_fault_08_09_..."""
    numbers = re.match(r"test_fault((?:_\d\d)+)_", name)
    return {int(number) for number in numbers[1].split("_")[1:]} if numbers else set()


TESTED = {
    number
    for path in TESTS.rglob("test_*.py")
    for name in functions(path)
    for number in faults_of(name)
}


def test_the_list_has_no_gap():
    assert [*range(1, 41)] == FAULTS


@pytest.mark.parametrize("number", FAULTS)
def test_every_fault_has_a_test(number):
    assert number in TESTED


def test_no_test_is_of_a_fault_that_is_not_listed():
    assert {*FAULTS} >= TESTED


NAMED = sorted({*re.findall(r"\btests/[\w/]+\.py(?:::\w+)?", TEXT)})


@pytest.mark.parametrize("named", NAMED)
def test_what_the_document_names_is_there(named):
    file, _, test = named.partition("::")
    path = TESTS.parent / file
    assert path.is_file()
    assert not test or test in functions(path)
