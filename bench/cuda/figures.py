"""Out of the measured times: bandwidths, the goals, and tables in Markdown."""

import statistics
from collections.abc import Iterator
from typing import Any

from contestants import OURS
from goals import Goal
from ratios import CaseResult, Ratio, seconds, to_ours
from report import goal_row, table
from rivals import (
    BYTES_A_PARAMETER,
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
NOT_MEASURED = "–"


def is_clip(case: CaseResult) -> bool:
    return str(case["name"]).startswith("clip-")


def of_the_copy(case: CaseResult) -> Ratio | None:
    """The time of a copy of the same bytes divided by ours: the fraction of its bandwidth."""
    return to_ours(case, COPY) if COPY in case["contestants"] else None


def bandwidth(case: CaseResult, name: str = OURS) -> float:
    """Bytes a second that a plain Adam step moves."""
    moved: int = BYTES_A_PARAMETER["float32"] * case["parameters"]
    return moved / seconds(case, name).median


def _ratio(case: CaseResult, name: str) -> Ratio | None:
    return to_ours(case, name) if name in case["contestants"] else None


def _note(case: CaseResult, name: str) -> str:
    return str(case["left_out"].get(name, ""))


def graph_overhead(graph: dict[str, Any]) -> Ratio:
    """µs of a replay above its kernels', or above the eager launches where no profiler told."""
    kernels = graph["kernels"] or statistics.median(graph["eager"])
    return Ratio.of((t - kernels) * 1e6 for t in graph["replay"])


def goals(result: dict[str, Any]) -> Iterator[Goal]:
    """What must be reached on an H100-class card."""
    for case in result["cases"]:
        title, fused = case["title"], _ratio(case, FUSED)
        if case["name"] in ("gpt2", "flat"):
            yield Goal(
                title,
                "fraction of the device copy",
                0.92,
                of_the_copy(case),
                note=_note(case, COPY),
            )
            yield Goal(title, f"time of {FUSED} ÷ ours", 1.0, fused, note=_note(case, FUSED))
        elif case["name"] == "mobilenetv2":
            yield Goal(title, f"time of {FUSED} ÷ ours", 3.0, fused, note=_note(case, FUSED))
        elif is_clip(case):
            bare = _ratio(case, CLIPPED)
            yield Goal(
                title, "our clip + step ÷ our step", 1.2, bare, True, note=_note(case, CLIPPED)
            )
    for title, graph in result["graphs"].items():
        why = "" if graph["kernels"] else "above eager launches: the profiler saw no kernels"
        reached = graph_overhead(graph)
        yield Goal(
            f"captured AdamW, {title}", "µs above its kernels' time", 10.0, reached, True, why
        )


def goals_table(result: dict[str, Any]) -> str:
    rows = [goal_row(goal) for goal in goals(result)]
    return table(["case", "measure", "goal", "reached (rounds)", "", "note"], rows, words=6)


def _microseconds(case: CaseResult, name: str) -> str:
    there = name in case["contestants"]
    return f"{seconds(case, name).median * 1e6:,.1f}" if there else NOT_MEASURED


def summary(result: dict[str, Any]) -> str:
    """The table of docs/cuda.md: µs a step, in brackets divided by ours."""
    head = ["Adam, float32, µs a step", OURS, *COLUMNS, COPY, "of the copy", "ours, TB/s"]
    rows = []
    for case in result["cases"]:
        if is_clip(case):
            continue
        others = [
            f"{_microseconds(case, name)} ({to_ours(case, name).median:.2f})"
            if name in case["contestants"]
            else NOT_MEASURED
            for name in COLUMNS
        ]
        part = of_the_copy(case)
        fraction = f"{part.median:.2f}" if part else NOT_MEASURED
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
    return table(head, rows) if rows else ""


def clip_summary(result: dict[str, Any]) -> str:
    names = (OURS, CLIPPED, FUSED, TORCH_CLIPPED)
    rows = [
        [case["title"], *(_microseconds(case, name) for name in names)]
        for case in result["cases"]
        if is_clip(case)
    ]
    return table(["µs a step", *names], rows) if rows else ""


def host_summary(result: dict[str, Any]) -> str:
    """What a call of step() takes on the host."""
    names = (OURS, PASSED, FUSED, FOREACH)
    rows = []
    for case in result["cases"]:
        if is_clip(case):
            continue
        entries = [case["contestants"].get(name) for name in names]
        cells = [
            f"{statistics.median(e['host']) * 1e6:.1f}" if e else NOT_MEASURED for e in entries
        ]
        rows.append([case["title"], f"{case['tensors']:,}", *cells])
    return table(["µs of the host a call", "tensors", *names], rows) if rows else ""


def graph_summary(result: dict[str, Any]) -> str:
    rows = []
    for title, graph in result["graphs"].items():
        own = graph["kernels"]
        microseconds = [statistics.median(graph[k]) * 1e6 for k in ("replay", "replays_in_a_row")]
        rows.append(
            [
                title,
                f"{own * 1e6:.1f}" if own else NOT_MEASURED,
                *(f"{t:.1f}" for t in microseconds),
                f"{statistics.median(graph['eager']) * 1e6:.1f}",
            ]
        )
    head = ["captured AdamW, clip, average: µs", "its kernels", "replay", "in a row", "eager"]
    return table(head, rows) if rows else ""


def left_out(result: dict[str, Any]) -> str:
    """Who is missing where, and why."""
    reasons: dict[str, list[str]] = {}
    for case in result["cases"]:
        for name, reason in case["left_out"].items():
            reasons.setdefault(f"{name} ({reason})", []).append(case["name"])
    lines = [f"{who}: {', '.join(where)}" for who, where in reasons.items()]
    return "; ".join([*lines, *result["missing"]])


def markdown(result: dict[str, Any]) -> str:
    about = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    parts = [
        "# fusedstep and its peers on a CUDA device",
        (
            f"{about['device']}, driver {about['driver']}; {versions}; {about['date']}; "
            f"{result['minutes']:.1f} minutes. `{result['command']}`"
        ),
        "Medians over rounds, by the device's events; in brackets that time ÷ ours, round by round.",
        summary(result),
        clip_summary(result),
        host_summary(result),
        graph_summary(result),
        "## Goals",
        goals_table(result),
    ]
    if missing := left_out(result):
        parts.append(f"Left out: {missing}.")
    return "\n\n".join(part for part in parts if part) + "\n"
