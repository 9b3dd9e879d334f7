"""Random steps on a device played by the CPU, against the CPU's own: tests/native/cuda_sweeps.cpp."""

import subprocess

ROUNDS = 8  # of four dense steps and four of rows and dense gradients, for each rule


def test_random_steps_have_the_bits_of_the_cpu(native_tree):
    native_tree.build("fusedstep_cuda_sweeps")
    command = [native_tree.folder / "fusedstep_cuda_sweeps", str(ROUNDS)]
    result = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout
    assert result.stdout.endswith(" steps\n")
