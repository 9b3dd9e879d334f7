"""Type checkers accept what users write, and report their mistakes."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs

TYPED = Path(__file__).parent / "typed"
OUTPUT = "--outputjson", f"--pythonpath={sys.executable}"
USER, MISTAKES = TYPED / "user.py", TYPED / "mistakes.py"

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


def run(module, *arguments):
    """What a checker prints."""
    if importlib.util.find_spec(module) is None:
        pytest.skip(f"{module} is not installed (extra: lint)")
    command = [sys.executable, "-m", module, *map(str, arguments)]
    # pyright verifies what it finds by this, not what is in the environment that is named to it.
    found = {**os.environ, "PYTHONPATH": str(Path(fs.__file__).parents[1])}
    return subprocess.run(command, check=False, capture_output=True, text=True, env=found).stdout


def mypy(folder):
    options = "--strict", "--python-version=3.10", "--no-pretty", "--config-file="
    found = run("mypy", *options, f"--cache-dir={folder}", USER, MISTAKES)
    assert "Found" in found, found
    return [
        (Path(file).name, int(line), text)
        for file, line, text in re.findall(r"^(.+):(\d+): error: (.*)", found, re.MULTILINE)
    ]


def pyright(folder):
    settings = folder / "pyrightconfig.json"
    strict = {"typeCheckingMode": "strict", "pythonVersion": "3.10"}
    settings.write_text(json.dumps({**strict, "include": [str(USER), str(MISTAKES)]}))
    found = json.loads(run("basedpyright", *OUTPUT, "--project", settings))
    return [
        (Path(one["file"]).name, one["range"]["start"]["line"] + 1, one["message"])
        for one in found["generalDiagnostics"]
    ]


@pytest.fixture(scope="module", params=[mypy, pyright], ids=lambda checker: checker.__name__)
def checked(request, tmp_path_factory):
    """A checker's name, and the errors that it finds: the file, the line, the message."""
    checker = request.param
    return checker.__name__, checker(tmp_path_factory.mktemp(checker.__name__))


def test_what_users_write_passes_in_strict_mode(checked):
    _, errors = checked
    assert [error for error in errors if error[0] != MISTAKES.name] == []


def test_every_mistake_is_reported(checked):
    checker, errors = checked
    lines = enumerate(MISTAKES.read_text().splitlines(), 1)
    marks = {n: re.search(r"# error(?:: (\w+))?$", line) for n, line in lines}
    wrong = {n for n, mark in marks.items() if mark and mark[1] in (None, checker)}
    assert len(wrong) > 50
    found = {line for file, line, _ in errors if file == MISTAKES.name}
    assert sorted(found) == sorted(wrong)


def test_every_public_name_has_a_type():
    found = run("basedpyright", *OUTPUT, "--verifytypes", "fusedstep", "--ignoreexternal")
    report = json.loads(found)["typeCompleteness"]
    unknown = [
        (symbol["name"], [one["message"] for one in symbol["diagnostics"]])
        for symbol in report["symbols"]
        if not symbol["isTypeKnown"] and symbol["isExported"]
    ]
    assert unknown == []
    assert report["completenessScore"] == 1
    assert len(report["symbols"]) > len(fs.__all__)
