"""The list of mutants fits the sources; whether tests kill them, run.py says."""

import subprocess
import sys
from collections import Counter

import pytest

import fusedstep as fs
import mutants
from mutant import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "cpp").exists(), reason="the sources are not here")


def test_every_string_occurs_once():
    texts = {file: (ROOT / file).read_text() for file in {m.file for m in mutants.ALL}}
    for mutant in mutants.ALL:
        assert mutant.applied_to(texts[mutant.file]) != texts[mutant.file]


def test_a_string_that_is_gone_is_noticed():
    with pytest.raises(ValueError, match=r"once in .*, got it 0 times"):
        mutants.ALL[0].applied_to("nothing")


def test_names_are_given_once_and_the_sample_is_among_them():
    times = Counter(mutant.name for mutant in mutants.ALL)
    assert not [name for name, count in times.items() if count > 1]
    assert times.keys() >= mutants.SAMPLE


@pytest.mark.parametrize("rule", fs.available())
def test_every_rule_has_one(rule):
    assert any(mutant.name.startswith(f"{rule}-") for mutant in mutants.ALL)


def test_a_name_that_is_none():
    script = ROOT / "tests" / "mutants" / "run.py"
    command = [sys.executable, script, "no-such-mutant"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 1
    assert "adam-eps-not-corrected" in done.stderr
