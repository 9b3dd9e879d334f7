"""The tables and goals of what was measured in training loops."""

from collections.abc import Iterator

from fusedstep._bench.contestants import OURS
from fusedstep._bench.ratio import Ratio

from ..harness import report
from ..harness.processes import Result
from ..harness.report import MISSING, Goal, paragraphs, table
from ..harness.results import CaseResult
from .loop_cases import AFTER_EACH_OTHER, AT_ONCE, SETTINGS
from .loops import NETWORKS
from .names import DEEPSPEED, FOREACH, FUSED, NUMBA, ONE_THREAD, OPTAX, TEXTBOOK
from .report import disturbed, machine_line

# The columns of the summary.
PEERS = (TEXTBOOK, FUSED, FOREACH, DEEPSPEED, NUMBA, OPTAX)


def ratio(case: CaseResult, above: str, below: str, of: str = "step") -> Ratio | None:
    """One's mean divided by the other's in the same round."""
    own = case["contestants"]
    if above not in own or below not in own:
        return None
    return Ratio.between(own[above][of], own[below][of])


def microseconds(case: CaseResult, name: str, of: str = "step") -> str:
    entry = case["contestants"].get(name)
    return f"{Ratio.of(entry[of]).median * 1e6:,.1f}" if entry else MISSING


def is_loop(case: CaseResult) -> bool:
    return case["name"].startswith("loop-")


def is_narrow(case: CaseResult) -> bool:
    return case["name"].startswith("narrow-")


def is_many(case: CaseResult) -> bool:
    return case["name"].startswith(("many-", "threads-"))


def place(case: CaseResult) -> str:
    """The case with its setting, in words."""
    setting = case["setting"]
    return case["title"] if setting == "quiet" else f"{case['title']}, {SETTINGS[setting]}"


# Goals -------------------------------------------------------------------------------------------


def _against(case: CaseResult, wanted: dict[str, float]) -> Iterator[Goal]:
    for name, bound in wanted.items():
        reached = ratio(case, name, OURS)
        note = "" if reached else case["left_out"].get(name, "")
        yield Goal(place(case), f"step of {name} ÷ ours", bound, reached, False, note)


def _iteration(case: CaseResult) -> Goal:
    reached = ratio(case, OURS, ONE_THREAD, "iteration")
    return Goal(place(case), f"our iteration ÷ that of {ONE_THREAD}", 1.02, reached, True)


def _in_numpy(case: CaseResult, size: str) -> Iterator[Goal]:
    one = {"109k": 1.0, "1.3M": 1.1, "11M": 0.97}[size]
    formula = {"109k": 2.0, "1.3M": 4.0, "11M": 2.5}[size]
    yield from _against(case, {ONE_THREAD: one, TEXTBOOK: formula})
    yield _iteration(case)
    if peer := {"109k": 50.0, "1.3M": 10.0}.get(size):
        yield from _against(case, dict.fromkeys((NUMBA, FUSED, DEEPSPEED), peer))


def _in_torch(case: CaseResult, size: str) -> Iterator[Goal]:
    yield from _against(case, {ONE_THREAD: 1.0, FUSED: 1.5 if size == "109k" else 1.0})
    yield _iteration(case)


def _beside_busy(case: CaseResult) -> Iterator[Goal]:
    if case["name"] == "row-10M":
        yield from _against(case, {ONE_THREAD: 1.0})
    elif case["name"].endswith("-109k"):
        reached = ratio(case, OURS, ONE_THREAD)
        yield Goal(place(case), f"our step ÷ that of {ONE_THREAD}", 1.1, reached, True)
        yield from _against(case, {FUSED: 2.0})


def goals(cases: list[CaseResult]) -> Iterator[Goal]:
    """The goals that the measured cases can answer."""
    for case in cases:
        if not case["contestants"]:
            continue
        kind, _, rest = case["name"].partition("-")
        library, _, size = rest.partition("-")
        if case["setting"].startswith("busy"):
            yield from _beside_busy(case)
        elif case["setting"] != "quiet":
            continue
        elif kind == "loop":
            yield from {"numpy": _in_numpy, "torch": _in_torch}[library](case, size)
        elif kind == "threads":
            reached = ratio(case, AT_ONCE, AFTER_EACH_OTHER)
            yield Goal(place(case), f"{AT_ONCE} ÷ {AFTER_EACH_OTHER}", 1.1, reached, True)


def goals_table(cases: list[CaseResult]) -> str:
    return report.goals_table(goals(cases), "why not") or "None is set for these cases."


# Tables ------------------------------------------------------------------------------------------


def _cell(found: Ratio | None) -> str:
    if not found:
        return MISSING
    digits = 3 if found.median < 0.095 else 2 if found.median < 9.95 else 1
    return f"{found.median:.{digits}f}"


def summary(cases: list[CaseResult]) -> str:
    """One row per case and setting, all settings of a case together."""
    own = [
        case for case in cases if not is_many(case) and not is_narrow(case) and case["contestants"]
    ]
    own.sort(key=lambda case: [other["name"] for other in cases].index(case["name"]))
    columns = [name for name in PEERS if any(name in case["contestants"] for case in own)]
    head = ["", "ours, µs per step", "per iteration", "1 thread", "its iteration", *columns]
    rows = []
    for case in own:
        rows.append(
            [
                place(case),
                microseconds(case, OURS),
                microseconds(case, OURS, "iteration") if is_loop(case) else MISSING,
                _cell(ratio(case, ONE_THREAD, OURS)),
                _cell(ratio(case, ONE_THREAD, OURS, "iteration") if is_loop(case) else None),
                *(_cell(ratio(case, name, OURS)) for name in columns),
            ]
        )
    return table(head, rows)


def many_table(cases: list[CaseResult]) -> str:
    rows = [
        [
            place(case),
            name,
            microseconds(case, name),
            str(ratio(case, name, case["reference"])),
        ]
        for case in cases
        if is_many(case)
        for name in case["contestants"]
    ]
    head = ["", "who", "µs", "time ÷ the first's (rounds)"]
    return table(head, rows, words=2)


def narrow_table(cases: list[CaseResult]) -> str:
    """One row per mode, and per library that stores the same."""
    rows = [
        [
            place(case),
            name,
            microseconds(case, name),
            str(ratio(case, name, case["reference"])),
            microseconds(case, name, "iteration"),
            str(ratio(case, name, case["reference"], "iteration")),
        ]
        for case in cases
        if is_narrow(case)
        for name in case["contestants"]
    ]
    head = ["", "who", "µs per step", "step ÷ float32's (rounds)"]
    head += ["µs per iteration", "iteration ÷ (rounds)"]
    return table(head, rows, words=2)


def case_table(case: CaseResult) -> str:
    reference, loop = case["reference"], is_loop(case) or is_narrow(case)
    found = {name: ratio(case, name, reference) for name in case["contestants"]}
    head = ["contestant", "µs per step", "median", "worst", f"step ÷ {reference}'s (rounds)"]
    head += ["µs per iteration", "iteration ÷ (rounds)"] * loop
    rows = []
    for name, steps in sorted(found.items(), key=lambda item: item[1].median if item[1] else 0):
        worst = max(case["contestants"][name]["worst"])
        row = [f"**{name}**" if name == reference else name, microseconds(case, name)]
        row += [microseconds(case, name, "median"), f"{worst * 1e6:,.0f}", str(steps)]
        if loop:
            row += [microseconds(case, name, "iteration")]
            row += [str(ratio(case, name, reference, "iteration"))]
        rows.append(row)
    return paragraphs(
        f"### {place(case)} ({case['threads']} threads)",
        (
            f"`{case['name']}`, {case['setting']}: {case['parameters']:,} parameters; "
            f"others kept {case['others_cores']:.2f} cores busy."
        ),
        table(head, rows),
        report.left_out(case),
    )


def short(result: Result) -> str:
    """The beginning of the report, which is also printed: the goals and the summaries."""
    cases = result["cases"]
    alone = [
        {**case, "name": place(case)} for case in cases if not case["setting"].startswith("busy")
    ]
    parts = ["## Goals in the loop", goals_table(cases), disturbed({"cases": alone})]
    if absent := result["missing"] + result["skipped"]:
        parts.append(f"Not measured: {'; '.join(absent)}.")
    if rows := summary(cases):
        parts += ["## The step in the loop, beside busy cores, and back to back", rows]
    if rows := narrow_table(cases):
        parts += ["## Fewer bytes in the loop", rows]
    if rows := many_table(cases):
        parts += ["## Many at once", rows]
    return paragraphs(*parts)


def markdown(result: Result) -> str:
    sizes = ", ".join(
        f"{name} is {'-'.join(map(str, layers))}" for name, layers in NETWORKS.items()
    )
    parts = [
        "# In the training loop",
        machine_line(result),
        (
            f"An MLP on batches of 64 ({sizes}): forward, backward, step. A time is the mean of a "
            "stretch, of which the first quarter is the warm-up and nothing else is left out; in the "
            "summary the median of the rounds. Other columns are a contestant's time divided by "
            "fusedstep's in the same round: above 1, fusedstep is faster."
        ),
        short(result),
    ]
    parts += [case_table(case) for case in result["cases"]]
    return paragraphs(*parts) + "\n"
