"""fusedstep on a CUDA device against its peers there, interleaved in one process.

    python bench/cuda/compare.py [--output DIR] [--rounds N] [--stretch SECONDS] [--only CASE ...]
    python bench/cuda/compare.py --rehearse    # on the CPU, tiny: shows that it runs, measures nothing

Writes results.json and report.md into the output directory after every case, and prints the goals.
"""

import argparse
import functools
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import Any

# Lists of tensors, ratios and tables are those of the comparison on the CPU.
sys.path.insert(1, str(Path(__file__).parents[1]))

from devices import Card, Device, Rehearsal
from figures import goals_table, left_out, markdown, summary
from gate import reason_of
from lists import Case, cases
from rounds import measure, measure_graph

import fusedstep as fs

HERE = Path(__file__).parent
CAPTURED = ("gpt2", "mobilenetv2", "mlp")
LIBRARIES = ("fusedstep", "torch", "cupy", "bitsandbytes", "numpy")


def arguments_of() -> argparse.Namespace:
    description, _ = __doc__.split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--output", type=Path, default=HERE / "results", metavar="DIR")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--stretch", type=float, default=0.08, help="seconds of a contestant")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="CASE", help="names or patterns"
    )
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny lists")
    return parser.parse_args()


def version_of(library: str) -> str:
    """As installed; CuPy's wheels carry the toolkit in their names."""
    for name in (library, *(f"{library}-cuda{n}x" for n in (13, 12, 11))):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "not installed"


def driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        ended = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return ended.stdout.strip().splitlines()[0]


def machine(device: Device) -> dict[str, Any]:
    return {
        **device.describe(),
        "driver": driver(),
        "cuda": fs.show_config("dict")["cuda"],
        "versions": {name: version_of(name) for name in LIBRARIES},
        "date": time.strftime("%Y-%m-%d"),
    }


def write(result: dict[str, Any], output: Path, start: float) -> None:
    """What there is so far: whoever cuts this short has it."""
    result["minutes"] = (time.time() - start) / 60
    output.mkdir(parents=True, exist_ok=True)
    (output / "results.json").write_text(json.dumps(result, indent=1) + "\n")
    (output / "report.md").write_text(markdown(result))


def main() -> None:
    arguments = arguments_of()
    warnings.simplefilter("ignore")  # of libraries; what counts is in the report
    start = time.time()
    device: Device = Rehearsal() if arguments.rehearse else Card()
    result: dict[str, Any] = {
        "command": " ".join(["bench/cuda/compare.py", *sys.argv[1:]]),
        "machine": machine(device),
        "cases": [],
        "graphs": {},
        "missing": [],
    }
    chosen = [
        case
        for case in cases(device.free_memory(), arguments.rehearse)
        if any(fnmatchcase(case.name, pattern) for pattern in arguments.only)
    ]

    def attempt(name: str, keep: Callable[[], None]) -> None:
        begun = time.time()
        try:
            keep()
        except Exception as error:  # noqa: BLE001 - the next one goes on
            result["missing"].append(f"{name} ({reason_of(error)})")
        device.clean()
        print(f"  {name}: {time.time() - begun:.0f} s", file=sys.stderr, flush=True)
        write(result, arguments.output, start)

    def compare(case: Case) -> None:
        result["cases"].append(measure(device, case, arguments.rounds, arguments.stretch))

    def capture(case: Case) -> None:
        result["graphs"][case.title] = measure_graph(device, case.sizes, arguments.rounds)

    for case in chosen:
        attempt(case.title, functools.partial(compare, case))
    # Last: torch's profiler, once used, stays between the program and the driver.
    for case in chosen:
        if case.name in CAPTURED:
            attempt(f"captured, {case.title}", functools.partial(capture, case))
    print(summary(result), goals_table(result), sep="\n\n")
    if missing := left_out(result):
        print(f"\nLeft out: {missing}.")
    print(f"\n{arguments.output}: results.json, report.md")
    if result["missing"]:
        sys.exit(f"not measured: {'; '.join(result['missing'])}")


if __name__ == "__main__":
    main()
