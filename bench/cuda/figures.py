"""The report of the device: bandwidths, goals, and tables in Markdown."""

import statistics
from collections.abc import Iterator
from typing import Any

from fusedstep._bench.contestants import OURS
from fusedstep._bench.ratio import Ratio

from ..harness import report
from ..harness.processes import Result
from ..harness.report import MISSING, Goal, paragraphs, table, versions_of
from ..harness.results import CaseResult, if_measured, seconds
from .rivals import (
    BYTES_PER_PARAMETER,
    CLIPPED,
    COPY,
    CUPY,
    EIGHT_BIT,
    FOREACH,
    FUSED,
    PASSED,
    TORCH_CLIPPED,
)

COLUMNS = (FUSED, FOREACH, CUPY, EIGHT_BIT)


def is_clip(case: CaseResult) -> bool:
    return str(case["name"]).startswith("clip-")


def bandwidth(case: CaseResult, name: str = OURS) -> float:
    """Bytes per second that a plain Adam step moves."""
    moved: int = BYTES_PER_PARAMETER["float32"] * case["parameters"]
    return moved / seconds(case, name).median


def _note(case: CaseResult, name: str) -> str:
    return str(case["left_out"].get(name, ""))


def graph_overhead(graph: dict[str, Any]) -> Ratio:
    """µs of a replay above its kernels', or above the eager launches without a profiler."""
    kernels = graph["kernels"] or statistics.median(graph["eager"])
    return Ratio.of((t - kernels) * 1e6 for t in graph["replay"])


def goals(result: Result) -> Iterator[Goal]:
    """What must be reached on an H100-class card."""
    for case in result["cases"]:
        title, fused = case["title"], if_measured(case, FUSED)
        if case["name"] in ("gpt2", "flat"):
            yield Goal(
                title,
                "fraction of the device copy",
                0.92,
                if_measured(case, COPY),
                note=_note(case, COPY),
            )
            yield Goal(title, f"time of {FUSED} ÷ ours", 1.0, fused, note=_note(case, FUSED))
        elif case["name"] == "mobilenetv2":
            yield Goal(title, f"time of {FUSED} ÷ ours", 3.0, fused, note=_note(case, FUSED))
        elif is_clip(case):
            bare = if_measured(case, CLIPPED)
            yield Goal(
                title, "our clip + step ÷ our step", 1.2, bare, True, note=_note(case, CLIPPED)
            )
    for title, graph in result["graphs"].items():
        why = "" if graph["kernels"] else "above eager launches: the profiler saw no kernels"
        reached = graph_overhead(graph)
        yield Goal(
            f"captured AdamW, {title}", "µs above its kernels' time", 10.0, reached, True, why
        )


def goals_table(result: Result) -> str:
    return report.goals_table(goals(result), "note")


def _microseconds(case: CaseResult, name: str) -> str:
    there = name in case["contestants"]
    return f"{seconds(case, name).median * 1e6:,.1f}" if there else MISSING


def summary(result: Result) -> str:
    """The table of docs/cuda.md: µs per step, and in brackets divided by ours."""
    head = ["Adam, float32, µs per step", OURS, *COLUMNS, COPY, "of the copy", "ours, TB/s"]
    rows = []
    for case in result["cases"]:
        if is_clip(case):
            continue
        others = [
            f"{_microseconds(case, name)} ({ratio.median:.2f})" if ratio else MISSING
            for name in COLUMNS
            for ratio in [if_measured(case, name)]
        ]
        part = if_measured(case, COPY)
        fraction = f"{part.median:.2f}" if part else MISSING
        speed = f"{bandwidth(case) * 1e-12:.2f}"
        rows.append(
            [
                case["title"],
                _microseconds(case, OURS),
                *others,
                _microseconds(case, COPY),
                fraction,
                speed,
            ]
        )
    return table(head, rows)


def clip_summary(result: Result) -> str:
    names = (OURS, CLIPPED, FUSED, TORCH_CLIPPED)
    rows = [
        [case["title"], *(_microseconds(case, name) for name in names)]
        for case in result["cases"]
        if is_clip(case)
    ]
    return table(["µs per step", *names], rows)


def host_summary(result: Result) -> str:
    """The time of a call of step() on the host."""
    names = (OURS, PASSED, FUSED, FOREACH)
    rows = []
    for case in result["cases"]:
        if is_clip(case):
            continue
        entries = [case["contestants"].get(name) for name in names]
        cells = [f"{statistics.median(e['host']) * 1e6:.1f}" if e else MISSING for e in entries]
        rows.append([case["title"], f"{case['tensors']:,}", *cells])
    return table(["µs per call on the host", "tensors", *names], rows)


def graph_summary(result: Result) -> str:
    rows = []
    for title, graph in result["graphs"].items():
        own = graph["kernels"]
        microseconds = [statistics.median(graph[k]) * 1e6 for k in ("replay", "replays_in_a_row")]
        rows.append(
            [
                title,
                f"{own * 1e6:.1f}" if own else MISSING,
                *(f"{t:.1f}" for t in microseconds),
                f"{statistics.median(graph['eager']) * 1e6:.1f}",
            ]
        )
    head = ["captured AdamW, clip, average: µs", "its kernels", "replay", "back to back", "eager"]
    return table(head, rows)


def left_out(result: Result) -> str:
    """Who is missing in which cases, and why."""
    reasons: dict[str, list[str]] = {}
    for case in result["cases"]:
        for name, reason in case["left_out"].items():
            reasons.setdefault(f"{name} ({reason})", []).append(case["name"])
    lines = [f"{who}: {', '.join(where)}" for who, where in reasons.items()]
    return "; ".join([*lines, *result["missing"]])


def markdown(result: Result) -> str:
    about = result["machine"]
    parts = [
        "# fusedstep and its peers on a CUDA device",
        (
            f"{about['device']}, driver {about['driver']}; {versions_of(about)}; {about['date']}; "
            f"{result['minutes']:.1f} minutes. `{result['command']}`"
        ),
        "Medians over rounds, by the device's events; in brackets that time ÷ ours, within a round.",
        summary(result),
        clip_summary(result),
        host_summary(result),
        graph_summary(result),
        "## Goals",
        goals_table(result),
    ]
    if missing := left_out(result):
        parts.append(f"Left out: {missing}.")
    return paragraphs(*parts) + "\n"
