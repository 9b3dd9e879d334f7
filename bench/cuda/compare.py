"""fusedstep on a CUDA device against its peers there, interleaved in one process.

    python -m bench.cuda.compare [--output DIR] [--rounds N] [--stretch SECONDS] [--only CASE ...]
    python -m bench.cuda.compare --rehearse    # on the CPU, tiny: shows that it runs, measures nothing

Writes results.json and report.md into the output directory after every case, and prints the goals.
"""

import argparse
import functools
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fusedstep as fs
from fusedstep._bench.libraries import reason_of

from ..harness.machine import version_of
from ..harness.processes import Result, empty_result, is_selected, write_json
from ..harness.progress import report_time
from .devices import Card, Device, Rehearsal
from .figures import goals_table, left_out, markdown, summary
from .lists import Case, cases
from .rounds import measure, measure_graph

CAPTURED = ("gpt2", "mobilenetv2", "mlp")
LIBRARIES = ("fusedstep", "torch", "cupy", "bitsandbytes", "numpy")


def arguments_of() -> argparse.Namespace:
    description, _ = __doc__.split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--output", type=Path, default=Path(__file__).parent / "results", metavar="DIR"
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--stretch", type=float, default=0.08, help="seconds per contestant")
    parser.add_argument(
        "--only", nargs="+", default=["*"], metavar="CASE", help="names, prefixes or patterns"
    )
    parser.add_argument("--rehearse", action="store_true", help="on the CPU, with tiny lists")
    return parser.parse_args()


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
        # CuPy's wheels carry the toolkit in their names.
        "versions": {
            name: version_of(name, *(f"{name}-cuda{n}x" for n in (13, 12, 11)))
            for name in LIBRARIES
        },
        "date": time.strftime("%Y-%m-%d"),
    }


def write(result: Result, output: Path, start: float) -> None:
    """Write what there is so far, so that nothing is lost if this is cut short."""
    result["minutes"] = (time.perf_counter() - start) / 60
    output.mkdir(parents=True, exist_ok=True)
    write_json(output / "results.json", result)
    (output / "report.md").write_text(markdown(result))


def main() -> None:
    arguments = arguments_of()
    warnings.simplefilter("ignore")  # of libraries; what counts is in the report
    start = time.perf_counter()
    device: Device = Rehearsal() if arguments.rehearse else Card()
    result = empty_result(machine=machine(device), graphs={})
    chosen = [
        case
        for case in cases(device.free_memory(), arguments.rehearse)
        if is_selected(case.name, arguments.only)
    ]

    def attempt(name: str, keep: Callable[[], None]) -> None:
        begun = time.perf_counter()
        try:
            keep()
        except Exception as error:  # noqa: BLE001 - the next one goes on
            result["missing"].append(f"{name} ({reason_of(error)})")
        device.clean()
        report_time(name, begun)
        write(result, arguments.output, start)

    def compare(case: Case) -> None:
        result["cases"].append(measure(device, case, arguments.rounds, arguments.stretch))

    def capture(case: Case) -> None:
        result["graphs"][case.title] = measure_graph(device, case.sizes, arguments.rounds)

    for case in chosen:
        attempt(case.title, functools.partial(compare, case))
    # Last: once used, torch's profiler stays between the program and the driver.
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
