"""The report of the comparison: goals, one summary table, then every case."""

import re

from fusedstep._bench.contestants import OURS

from ..harness import report
from ..harness.processes import Result
from ..harness.report import MISSING, paragraphs, table, versions_of
from ..harness.results import CaseResult, if_measured, seconds, to_reference
from .goals import goals
from .names import DEEPSPEED, FOREACH, FUSED, IN_PLACE, NUMBA, OPTAX, ROOFLINE, TEXTBOOK
from .narrow_report import narrow_goals, narrow_table
from .ratios import is_adam, is_overhead, is_whole, overhead, overhead_names, peers

# The columns of the summary; the cases below it have all contestants.
COLUMNS = (FUSED, FOREACH, DEEPSPEED, NUMBA, OPTAX, IN_PLACE, TEXTBOOK)

NARROW = (
    "*In cache* on one thread: the mode's time divided by that of float32, both without what a call "
    "takes. *Of the roofline*: of what it takes to move as many bytes. *Of the arithmetic*: what "
    "the step takes in cache, divided by the threads, of its time from memory."
)


def on_all_threads(result: Result) -> list[CaseResult]:
    most = max(case["threads"] for case in result["cases"])
    return [case for case in result["cases"] if case["threads"] == most]


def goals_table(result: Result) -> str:
    own = [*goals(on_all_threads(result)), *narrow_goals(result["cases"])]
    return report.goals_table(own, "peer")


def _cell(case: CaseResult, name: str) -> str:
    ratio = if_measured(case, name)
    return f"{ratio.median:.2f}" if ratio else MISSING


def _ours(case: CaseResult) -> str:
    return f"{seconds(case, OURS).median / case['parameters'] * 1e9:.3f}"


def summary(cases: list[CaseResult]) -> str:
    head = ["Adam, float32", "ours, ns per parameter", "of the roofline", "best peer", *COLUMNS]
    rows = []
    for case in cases:
        if not is_adam(case):
            continue
        order = peers(case)
        rows.append(
            [
                case["title"].removeprefix("Adam, "),
                _ours(case),
                _cell(case, ROOFLINE),
                f"{order[0]} {to_reference(case, order[0])}" if order else MISSING,
                *(_cell(case, name) for name in COLUMNS),
            ]
        )
    return table(head, rows)


def whole_summary(cases: list[CaseResult]) -> str:
    own = [case for case in cases if is_whole(case)]
    names = list(dict.fromkeys(n for c in own for n in c["contestants"] if n in peers(c)))
    head = ["AdamW, float32", "ours, ns per parameter", "of its roofline", *names]
    rows = [
        [
            case["title"].removeprefix("Whole step, "),
            _ours(case),
            *(str(if_measured(case, name) or MISSING) for name in (ROOFLINE, *names)),
        ]
        for case in own
    ]
    return table(head, rows)


def case_table(case: CaseResult) -> str:
    order = sorted(case["contestants"], key=lambda name: to_reference(case, name).median)
    rows = []
    for name in order:
        median = seconds(case, name).median
        rows.append(
            [
                f"**{name}**" if name == case["reference"] else name,
                f"{median * 1e6:,.1f}",
                f"{median / case['parameters'] * 1e9:.3f}",
                str(to_reference(case, name)),
            ]
        )
    head = [
        "contestant",
        "µs per step",
        "ns per parameter",
        f"time ÷ {case['reference']}'s (rounds)",
    ]
    part = if_measured(case, ROOFLINE)
    return paragraphs(
        f"### {case['title']} ({case['threads']} threads)",
        (
            f"`{case['name']}`: {case['tensors']:,} tensors, {case['parameters']:,} parameters; "
            f"interleaved: {case['interleaved']}; others kept {case['others_cores']:.2f} cores busy."
        ),
        table(head, rows),
        f"{OURS} at {part} of the same-stream roofline." if part else "",
        report.left_out(case),
    )


def overhead_table(cases: list[CaseResult]) -> str:
    rows = []
    for name in overhead_names(cases):
        if fit := overhead(cases, name):
            rows.append([name, *map(str, fit)])
    return table(["contestant", "µs per step", "ns per tensor", "ns per element"], rows)


def disturbed(result: Result) -> str:
    """A warning with the cases during which other programs kept cores busy, or nothing."""
    names = [case["name"] for case in result["cases"] if case["others_cores"] > 0.1]
    if not names:
        return ""
    return (
        "**Disturbed.** Other programs kept more than a tenth of a core busy, which stalls a step on "
        f"all threads for milliseconds: measure again {', '.join(names)}."
    )


def machine_line(result: Result) -> str:
    about = result.get("machine") or {}
    return (
        f"{about['cpu']}, {about['cores']} cores, {about['last_level_cache'] >> 20} MiB last-level "
        f"cache, load {about['load_at_start']:.1f} at the start; fusedstep {about['fusedstep']} on "
        f"{about['isa']}; {versions_of(about)}; {about['date']}; {result['minutes']:.0f} minutes.\n\n"
        f"`{result['command']}`"
    )


def markdown(result: Result, in_the_loop: str) -> str:
    """The whole report; first the one of in_loop.py, which may be empty."""
    parts = [
        "# fusedstep and its peers",
        machine_line(result),
        re.sub("^#", "##", in_the_loop, flags=re.MULTILINE),
        "## Back-to-back steps" if in_the_loop else "",
        (
            "Ratios are times divided by fusedstep's in the same round: above 1, fusedstep is faster. "
            f"In brackets, the range over the rounds. *{ROOFLINE}*: the same memory read and written "
            "by the library's own loop, with one addition instead of the rule."
        ),
        "## Goals",
        goals_table(result),
        disturbed(result),
    ]
    if result["missing"]:
        parts.append(f"Not measured: {'; '.join(result['missing'])}.")
    if narrow := narrow_table(result["cases"]):
        parts += ["## Fewer bytes", NARROW, narrow]
    for threads in sorted({case["threads"] for case in result["cases"]}, reverse=True):
        own = [case for case in result["cases"] if case["threads"] == threads]
        parts += [f"## {threads} threads", summary(own)]
        if whole := whole_summary(own):
            parts += ["### Unscale, check, clip, AdamW, average, zero", whole]
        if fits := overhead_table(own):
            parts += ["### Overhead: lists of small tensors, fitted", fits]
        parts += [case_table(case) for case in own if not is_overhead(case)]
        parts += [case_table(case) for case in own if is_overhead(case)]
    return paragraphs(*parts) + "\n"
