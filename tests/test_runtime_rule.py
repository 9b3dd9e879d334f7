"""A rule that the library was not compiled with: tests/native/runtime_rule.cpp."""

import subprocess

import pytest

import fusedstep as fs


@pytest.mark.parametrize("isa", fs.available_isas())
def test_a_rule_described_at_run_time(emulated_module, isa):
    folder = emulated_module.parent
    build = ["cmake", "--build", str(folder), "--target", "fusedstep_runtime_rule", "-j2"]
    done = subprocess.run(build, check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    program = [folder / "fusedstep_runtime_rule"]
    environment = {"FUSEDSTEP_ISA": isa}
    done = subprocess.run(
        program, check=False, capture_output=True, text=True, timeout=300, env=environment
    )
    assert done.stdout == "bare: same, with all: same\n"
