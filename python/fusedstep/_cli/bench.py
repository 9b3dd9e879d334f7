"""``fusedstep bench``: time a step on this machine against NumPy, torch and the roofline."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import fusedstep as fs
from fusedstep._cli.errors import CommandError, check_output, write_output
from fusedstep._cli.measurement import OURS, ROOFLINE, ROUNDS, Benchmark, benchmark

__all__ = ["run"]

OUTPUT = Path("fusedstep-bench.png")


def print_table(result: Benchmark) -> None:
    """Print one row per size, and what the columns mean."""
    config = fs.show_config("dict")
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    print(
        f"One step of {result.rule} ({result.dtype}): fusedstep {config['fusedstep']} "
        f"({config['isa']}, {config['machine']}, {threads}), NumPy {config['numpy']}.\n"
    )
    print(
        f"{'parameters':>13}{'ns/parameter':>15}{'of roofline':>14}",
        *(f"{name:>16}" for name in result.others),
        sep="",
    )
    for timing in result.timings:
        print(
            f"{timing.parameters:>13,}{timing.nanoseconds(OURS):>15.3f}{timing.ratio(ROOFLINE):>14.0%}",
            *(
                f"{'disturbed':>16}" if timing.disturbed else f"{timing.ratio(name):>15.1f}x"
                for name in result.others
            ),
            sep="",
        )
    print(
        f"\nx: time divided by fusedstep's, the median of {ROUNDS} interleaved rounds.\n"
        "Roofline: the same reads and writes with one addition instead of the rule; 100% is the\n"
        "most that this machine can do."
    )
    if any(timing.disturbed for timing in result.timings):
        most = max(timing.preempted for timing in result.timings)
        print(
            f"Disturbed: other programs took a CPU from this one, up to {most:.0f} times a second. "
            "Threads\nthen wait for each other and the times mean little: measure on an idle machine, "
            "or with --threads 1."
        )
    for name, reason in result.left_out.items():
        print(f"Left out: {name} ({reason}).")


def as_json(result: Benchmark, picture: Path | None) -> str:
    """The result for programs."""
    return json.dumps(
        {
            "config": fs.show_config("dict"),
            "rule": result.rule,
            "dtype": result.dtype,
            "threads": result.threads,
            "rounds": ROUNDS,
            "results": [
                {
                    "parameters": timing.parameters,
                    "preemptions_per_second": timing.preempted,
                    "disturbed": timing.disturbed,
                    "roofline_fraction": timing.ratio(ROOFLINE),
                    "ns_per_parameter": {n: timing.nanoseconds(n) for n in result.contestants},
                    "times_fusedstep": {name: timing.ratio(name) for name in result.others},
                }
                for timing in result.timings
            ],
            "left_out": result.left_out,
            "picture": None if picture is None else str(picture),
        },
        indent=2,
    )


def choose_picture(output: Path | None, json_wanted: bool) -> Path | None:
    """Where the picture goes: nowhere with JSON or without matplotlib, unless it was asked for."""
    if json_wanted and output is None:
        return None
    try:
        importlib.import_module("matplotlib")
    except ModuleNotFoundError:
        if output is None:
            return None
        raise CommandError(
            f"cannot draw {output} without matplotlib: pip install matplotlib"
        ) from None
    check_output(output or OUTPUT)
    return output or OUTPUT


def run(
    rule: str,
    dtype: str,
    sizes: Sequence[int],
    threads: int | None,
    output: Path | None,
    json_wanted: bool,
    quiet: bool,
) -> None:
    """Measure, print the table or JSON, and draw the picture.

    Raises
    ------
    CommandError
        `output` cannot be drawn or written (found out before the work if possible), or there is
        not enough memory.
    """
    picture = choose_picture(output, json_wanted)
    with fs.num_threads(threads) if threads else nullcontext():
        result = benchmark(rule, dtype, sorted(set(sizes)), quiet)
    if picture:
        from fusedstep._cli.bench_figure import render

        write_output(picture, render(result))
    if json_wanted:
        print(as_json(result, picture))
        return
    print_table(result)
    print(f"Picture: {picture}" if picture else "No picture: it needs matplotlib.")
