"""Which wheels cibuildwheel would build on the platforms of the workflow: one for each Python, no other."""

import subprocess
import sys
from pathlib import Path

import tomllib
import yaml

ROOT = Path(__file__).parents[1]
PYTHON = "Programming Language :: Python :: 3."

project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
pythons = {f"cp3{c.removeprefix(PYTHON)}" for c in project["classifiers"] if c.startswith(PYTHON)}
workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "wheels.yml").read_text())
for job in workflow["jobs"]["wheels"]["strategy"]["matrix"]["include"]:
    command = [
        *("cibuildwheel", "--print-build-identifiers"),
        *("--platform", job["platform"], "--archs", job["arch"], str(ROOT)),
    ]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    wheels = done.stdout.split()
    print(*wheels)
    if sorted(wheel.split("-")[0] for wheel in wheels) != sorted(pythons):
        sys.exit(f"{job['platform']} {job['arch']}: expected one wheel each for {sorted(pythons)}")
