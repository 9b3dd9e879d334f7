"""The fast lane cannot erode: what it must run of every rule, dtype, instruction set and fault."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs
from array_faults import GRADIENT_FAULTS, PARAMETER_FAULTS
from cases import CASE_IDS, CASES, DTYPES, LAYERWISE, RULES, THREADS, settings
from interpreters import environment

TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def kept():
    """The names of the cases that the fast lane runs, by test."""
    options = [
        "-p",
        "no:cacheprovider",
        "--collect-only",
        "-q",
        "-m",
        "not exhaustive and not long",
    ]
    files = [TESTS / name for name in ("exact", "arrays/test_bad_input.py")]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *files],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(PYTEST_ADDOPTS=""),
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    names = {}
    for line in done.stdout.splitlines():
        test, bracket, case = line.partition("[")
        if bracket:
            names.setdefault(test.removeprefix("tests/"), []).append(case[:-1])
    return names


def holds(cases, *words):
    """Whether there is a case of all these values."""
    return any({*words} <= {*case.split("-")} for case in cases)


@pytest.mark.parametrize(
    "test",
    [
        "test_exact.py::test_fault_13_18_19_every_length_and_offset",
        "test_whole_step.py::test_everything_at_once",
    ],
)
def test_the_bits_of_every_rule_and_dtype(kept, test):
    cases = kept[f"exact/{test}"]
    assert all(holds(cases, rule, dtype) for rule in RULES for dtype in DTYPES)


def test_rows_of_every_rule_and_dtype(kept):
    rules = [rule for rule in RULES if rule not in LAYERWISE]
    cases = kept["exact/test_rows.py::test_rows"]
    assert all(holds(cases, rule, dtype) for rule in rules for dtype in DTYPES)


def test_every_value_of_every_option(kept):
    cases = kept["exact/test_exact.py::test_fault_13_18_19_every_length_and_offset"]
    wanted = {
        (rule, word)
        for (rule, _), case in zip(CASES, CASE_IDS, strict=True)
        for word in case.split("-")[1:]
    }
    assert all(holds(cases, rule, value) for rule, value in wanted)


def test_every_instruction_set_with_every_number_of_threads():
    assert [*settings()] == [*itertools.product(fs.available_isas(), THREADS)]


@pytest.mark.parametrize(
    ("test", "faults"),
    [
        ("test_fault_01_02_03_04_06_07_in_a_gradient", GRADIENT_FAULTS),
        ("test_fault_03_04_05_06_07_in_a_parameter", PARAMETER_FAULTS),
    ],
)
def test_every_fault_with_every_rule(kept, test, faults):
    cases = kept[f"arrays/test_bad_input.py::{test}"]
    for rule in RULES:
        shown = {
            case.removesuffix(f"-{dtype}-{rule}")
            for case in cases
            for dtype in DTYPES
            if case.endswith(f"-{dtype}-{rule}")
        }
        assert shown == {*faults}, rule
        assert all(holds(cases, rule, dtype) for dtype in DTYPES)
