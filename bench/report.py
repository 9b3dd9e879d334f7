"""The Markdown report: goals, one summary table, then every case."""

import re
from typing import Any

from contestants import OURS, ROOFLINE
from goals import NOT_YET, Goal, goals
from ratios import (
    CaseResult,
    fraction_of_roofline,
    is_adam,
    is_overhead,
    is_whole,
    overhead,
    overhead_names,
    peers,
    seconds,
    to_ours,
)

# What the summary has columns for; the cases below it have everybody.
COLUMNS = (
    "torch fused",
    "torch foreach",
    "DeepSpeedCPUAdam",
    "Numba parallel",
    "optax jit",
    "NumPy in place",
    "NumPy textbook",
)


def table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """Markdown; all columns but the first `words` hold numbers."""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def on_all_threads(result: dict[str, Any]) -> list[CaseResult]:
    most = max(case["threads"] for case in result["cases"])
    return [case for case in result["cases"] if case["threads"] == most]


def goal_row(goal: Goal) -> list[str]:
    bound = f"{'≤' if goal.at_most else '≥'} {goal.bound:.4g}"
    return [goal.case, goal.measure, bound, str(goal.reached or ""), goal.met, goal.note]


def goals_table(result: dict[str, Any]) -> str:
    rows = [goal_row(goal) for goal in goals(on_all_threads(result))]
    rows += [[case, what, "", "", "no case yet", ""] for case, what in NOT_YET.items()]
    return table(["case", "measure", "goal", "reached (rounds)", "", "peer"], rows, words=6)


def _cell(case: CaseResult, name: str) -> str:
    return f"{to_ours(case, name).median:.2f}" if name in case["contestants"] else "–"


def summary(cases: list[CaseResult]) -> str:
    head = ["Adam, float32", "ours, ns a parameter", "of the roofline", "best peer", *COLUMNS]
    rows = []
    for case in cases:
        if not is_adam(case):
            continue
        part, order = fraction_of_roofline(case), peers(case)
        rows.append(
            [
                case["title"].removeprefix("Adam, "),
                f"{seconds(case, OURS).median / case['parameters'] * 1e9:.3f}",
                f"{part.median:.2f}" if part else "–",
                f"{order[0]} {to_ours(case, order[0])}" if order else "–",
                *(_cell(case, name) for name in COLUMNS),
            ]
        )
    return table(head, rows) if rows else ""


def whole_summary(cases: list[CaseResult]) -> str:
    own = [case for case in cases if is_whole(case)]
    names = list(dict.fromkeys(n for c in own for n in c["contestants"] if n in peers(c)))
    head = ["AdamW, float32", "ours, ns a parameter", "of its roofline", *names]
    rows = [
        [
            case["title"].removeprefix("Whole step, "),
            f"{seconds(case, OURS).median / case['parameters'] * 1e9:.3f}",
            str(fraction_of_roofline(case) or "–"),
            *(str(to_ours(case, n)) if n in case["contestants"] else "–" for n in names),
        ]
        for case in own
    ]
    return table(head, rows) if rows else ""


def case_table(case: CaseResult) -> str:
    order = sorted(case["contestants"], key=lambda name: to_ours(case, name).median)
    rows = []
    for name in order:
        median = seconds(case, name).median
        rows.append(
            [
                f"**{name}**" if name == case["reference"] else name,
                f"{median * 1e6:,.1f}",
                f"{median / case['parameters'] * 1e9:.3f}",
                str(to_ours(case, name)),
            ]
        )
    head = ["contestant", "µs a step", "ns a parameter", f"time ÷ {case['reference']}'s (rounds)"]
    lines = [
        f"### {case['title']} ({case['threads']} threads)",
        (
            f"`{case['name']}`: {case['tensors']:,} tensors, {case['parameters']:,} parameters; "
            f"interleaved: {case['interleaved']}; others kept {case['others_cores']:.2f} cores busy."
        ),
        table(head, rows),
    ]
    if part := fraction_of_roofline(case):
        lines.append(f"{OURS} at {part} of the same-stream roofline.")
    if case["left_out"]:
        reasons = (f"{name} ({reason})" for name, reason in case["left_out"].items())
        lines.append(f"Left out: {'; '.join(reasons)}.")
    return "\n\n".join(lines)


def overhead_table(cases: list[CaseResult]) -> str:
    rows = []
    for name in overhead_names(cases):
        if fit := overhead(cases, name):
            rows.append([name, *map(str, fit)])
    return table(["contestant", "µs a step", "ns a tensor", "ns an element"], rows) if rows else ""


def disturbed(result: dict[str, Any]) -> str:
    """The cases that others on the machine took part in, or nothing."""
    names = [case["name"] for case in result["cases"] if case["others_cores"] > 0.1]
    if not names:
        return ""
    return (
        "**Disturbed.** Others kept more than a tenth of a core busy, which stalls whoever uses all "
        f"threads for milliseconds a step: measure again {', '.join(names)}."
    )


def machine_line(result: dict[str, Any]) -> str:
    about = result.get("machine") or {}
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['last_level_cache'] >> 20} MiB last-level "
        f"cache, load {about['load_at_start']:.1f} at the start; fusedstep {about['fusedstep']} on "
        f"{about['isa']}; {versions}; {about['date']}; {result['minutes']:.0f} minutes.\n\n"
        f"`{result['command']}`"
    )


def markdown(result: dict[str, Any], in_the_loop: str) -> str:
    """All of it; first what in_loop.py reports, which may be nothing."""
    parts = [
        "# fusedstep and its peers",
        machine_line(result),
        re.sub("^#", "##", in_the_loop, flags=re.MULTILINE),
        "## Steps in a row" if in_the_loop else "",
        (
            "Ratios are times divided by fusedstep's in the same round: above 1, fusedstep is faster. "
            f"In brackets, the range over the rounds. *{ROOFLINE}*: the same memory read and written "
            "by the library's own loop, with one addition in the place of the rule."
        ),
        "## Goals",
        goals_table(result),
        disturbed(result),
    ]
    if result["missing"]:
        parts.append(f"Not measured: {'; '.join(result['missing'])}.")
    for threads in sorted({case["threads"] for case in result["cases"]}, reverse=True):
        own = [case for case in result["cases"] if case["threads"] == threads]
        parts += [f"## {threads} threads", summary(own)]
        if whole := whole_summary(own):
            parts += ["### Unscale, look, clip, AdamW, average, zero", whole]
        if fits := overhead_table(own):
            parts += ["### Overhead: lists of small tensors, fitted", fits]
        parts += [case_table(case) for case in own if not is_overhead(case)]
        parts += [case_table(case) for case in own if is_overhead(case)]
    return "\n\n".join(part for part in parts if part) + "\n"
