"""What ``fusedstep bench`` says of a measurement: a table for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fusedstep as fs
from fusedstep._bench.contestants import OURS
from fusedstep._bench.ratio import Ratio
from fusedstep._cli.measurement import ROUNDS, STALLED, Benchmark, Timing, is_uncertain
from fusedstep._cli.peers import IN_FLOAT32, ROOFLINE, STEPS

__all__ = ["as_json", "as_table"]

MEANS = "on average"


def as_table(result: Benchmark) -> str:
    """One row per size, or two where steps stalled; and what the columns mean."""
    config = fs.show_config("dict")
    threads = "1 thread" if result.threads == 1 else f"{result.threads} threads"
    body = [line for timing in result.timings for line in _lines(timing, result.peers)]
    title = (
        f"One step of {result.rule} ({result.mode}): fusedstep {config['fusedstep']} "
        f"({config['isa']}, {config['machine']}, {threads}), NumPy {config['numpy']}."
    )
    head = _row("parameters", "ns/parameter", "of roofline", result.peers)
    return "\n".join([title, "", head, *body, "", *_legend(result, "\n".join(body))])


def _row(size: str, time: str, roofline: str, ratios: Iterable[str]) -> str:
    cells = "".join(f" {ratio:>20}" for ratio in ratios)
    return f"{size:>12}{time:>13}{roofline:>12}{cells}".rstrip()


def _lines(timing: Timing, peers: Iterable[str]) -> Iterable[str]:
    per_parameter = 1e9 / timing.parameters
    typical = timing.seconds(OURS)
    mark = "~" if is_uncertain(typical) else ""
    fraction = timing.of_roofline
    yield _row(
        f"{timing.parameters:,}",
        f"{mark}{typical.median * per_parameter:.3f}",
        "" if fraction is None else f"{fraction.median:.0%}",
        [_times(timing.ratio(name)) if name in timing.stretches else "" for name in peers],
    )
    mean = f"{timing.mean_seconds(OURS) * per_parameter:.3f}" if timing.stalled(OURS) else ""
    means = [_mean_times(timing, name) if name in timing.stretches else "" for name in peers]
    if any([mean, *means]):
        yield _row(MEANS, mean, "", means)


def _times(ratio: Ratio) -> str:
    if not is_uncertain(ratio):
        return f"{_short(ratio.median)}x"
    return f"~{_short(ratio.median)}x ({_short(ratio.low)}-{_short(ratio.high)})"


def _mean_times(timing: Timing, name: str) -> str:
    typical, mean = timing.ratio(name).median, timing.mean_ratio(name)
    differ = max(typical, mean) > STALLED * min(typical, mean)
    return f"{_short(mean)}x" if differ else ""


def _short(ratio: float) -> str:
    return f"{ratio:.2f}" if ratio < 0.995 else f"{ratio:,.{0 if ratio >= 99.5 else 1}f}"


def _legend(result: Benchmark, body: str) -> Iterable[str]:
    yield f"x: a step's time divided by fusedstep's, the median of {ROUNDS} interleaved rounds."
    if "~" in body:
        yield (
            "~: uncertain. In brackets an interval that holds the true median with 96%: the second\n"
            "   lowest to the second highest round."
        )
    if MEANS in body:
        most = max(timing.preempted for timing in result.timings)
        yield (
            f"{MEANS}: the means, with every stall, where they differ by {STALLED - 1:.0%} or more. "
            f"Other programs\n   took a CPU from this one up to {most:.0f} times a second."
        )
    if result.mode.is_narrow:
        yield from _narrow_legend(result)
    else:
        yield (
            "Roofline: the same reads and writes with one addition instead of the rule; 100% is the "
            "most\n   that this machine can do. Blank where the times were not steady."
        )
        if result.checked_against:
            checked = _joined(result.checked_against)
            yield f"Checked: after {STEPS} steps the same parameters as {checked}."
        else:
            yield f"Not checked: nobody else here computes {result.rule}."
    yield from (f"Left out: {name} ({reason})." for name, reason in result.left_out.items())


def _narrow_legend(result: Benchmark) -> Iterable[str]:
    yield (
        f"Bytes: a step moves {result.bytes_per_parameter:.5g} per parameter. Roofline: as many, in "
        "streams of float32, with one\n   addition instead of the rule. Blank where the times were not "
        "steady."
    )
    [reference] = result.checked_against
    yield (
        f"Checked: after {STEPS} steps as near to {reference}, in float32, as the formats allow."
    )
    if result.peers == [IN_FLOAT32] and not result.left_out:
        yield "No other library that bench knows has optimizers that store the same."


def _joined(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def as_json(result: Benchmark, picture: Path | None) -> str:
    """The result for programs."""
    return json.dumps(
        {
            "config": fs.show_config("dict"),
            "rule": result.rule,
            "dtype": result.mode.param,
            "state": result.mode.state,
            "rounding": result.mode.rounding,
            "master_bits": result.mode.master_bits,
            "bytes_per_parameter": result.bytes_per_parameter,
            "threads": result.threads,
            "rounds": ROUNDS,
            "results": [_size_as_json(timing) for timing in result.timings],
            "checked_against": list(result.checked_against),
            "left_out": result.left_out,
            "picture": None if picture is None else str(picture),
        },
        indent=2,
    )


def _size_as_json(timing: Timing) -> dict[str, Any]:
    per_parameter = 1e9 / timing.parameters
    peers = [name for name in timing.stretches if name not in (OURS, ROOFLINE)]
    ratios = {name: timing.ratio(name) for name in peers}
    fraction = timing.of_roofline
    return {
        "parameters": timing.parameters,
        "preemptions_per_second": timing.preempted,
        "roofline_fraction": None if fraction is None else fraction.median,
        "ns_per_parameter": {
            name: {
                **_interval(timing.seconds(name), per_parameter),
                "mean": timing.mean_seconds(name) * per_parameter,
            }
            for name in timing.stretches
        },
        "times_fusedstep": {
            name: {
                **_interval(ratio),
                "mean": timing.mean_ratio(name),
                "uncertain": is_uncertain(ratio),
            }
            for name, ratio in ratios.items()
        },
    }


def _interval(value: Ratio, unit: float = 1.0) -> dict[str, float]:
    return {name: bound * unit for name, bound in value._asdict().items()}
