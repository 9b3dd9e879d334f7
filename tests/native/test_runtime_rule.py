"""A rule that the library was not compiled with: tests/native/runtime_rule.cpp."""

import subprocess

import pytest

import fusedstep as fs


@pytest.mark.parametrize("isa", fs.available_isas())
def test_a_rule_described_at_run_time(native_tree, isa):
    native_tree.build("fusedstep_runtime_rule")
    program = [native_tree.folder / "fusedstep_runtime_rule"]
    environment = {"FUSEDSTEP_ISA": isa}
    done = subprocess.run(
        program, check=False, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.stdout == "bare: same, with all: same\n"
