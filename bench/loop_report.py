"""The tables and goals of what was measured where people run it."""

from collections.abc import Iterator
from typing import Any

from contestants import OURS
from goals import DEEPSPEED, FUSED, NUMBA, Goal
from loop_cases import AFTER_EACH_OTHER, AT_ONCE, SETTINGS
from loops import NETWORKS, ONE_THREAD, TEXTBOOK
from ratios import CaseResult, Ratio
from report import disturbed, goal_row, machine_line, table

# What the summary has columns for.
PEERS = (TEXTBOOK, FUSED, "torch foreach", DEEPSPEED, NUMBA, "optax jit")


def ratio(case: CaseResult, above: str, below: str, of: str = "step") -> Ratio | None:
    """One's mean divided by the other's in the same round."""
    own = case["contestants"]
    if above not in own or below not in own:
        return None
    return Ratio.of(a / b for a, b in zip(own[above][of], own[below][of], strict=True))


def microseconds(case: CaseResult, name: str, of: str = "step") -> str:
    entry = case["contestants"].get(name)
    return f"{Ratio.of(entry[of]).median * 1e6:,.1f}" if entry else "–"


def is_loop(case: CaseResult) -> bool:
    return case["name"].startswith("loop-")


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
    """Those that the measured cases can answer."""
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
    head = ["case", "measure", "goal", "reached (rounds)", "", "why not"]
    rows = [goal_row(goal) for goal in goals(cases)]
    return table(head, rows, words=6) if rows else "None is set for these cases."


# Tables ------------------------------------------------------------------------------------------


def _cell(found: Ratio | None) -> str:
    if not found:
        return "–"
    digits = 3 if found.median < 0.095 else 2 if found.median < 9.95 else 1
    return f"{found.median:.{digits}f}"


def summary(cases: list[CaseResult]) -> str:
    """A row a case and setting, all settings of a case together."""
    own = [case for case in cases if not is_many(case) and case["contestants"]]
    own.sort(key=lambda case: [other["name"] for other in cases].index(case["name"]))
    columns = [name for name in PEERS if any(name in case["contestants"] for case in own)]
    head = ["", "ours, µs a step", "an iteration", "1 thread", "its iteration", *columns]
    rows = []
    for case in own:
        rows.append(
            [
                place(case),
                microseconds(case, OURS),
                microseconds(case, OURS, "iteration") if is_loop(case) else "–",
                _cell(ratio(case, ONE_THREAD, OURS)),
                _cell(ratio(case, ONE_THREAD, OURS, "iteration") if is_loop(case) else None),
                *(_cell(ratio(case, name, OURS)) for name in columns),
            ]
        )
    return table(head, rows) if rows else ""


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
    return table(head, rows, words=2) if rows else ""


def case_table(case: CaseResult) -> str:
    reference, loop = case["reference"], is_loop(case)
    found = {name: ratio(case, name, reference) for name in case["contestants"]}
    head = ["contestant", "µs a step", "median", "worst", f"step ÷ {reference}'s (rounds)"]
    head += ["µs an iteration", "iteration ÷ (rounds)"] * loop
    rows = []
    for name, steps in sorted(found.items(), key=lambda item: item[1].median if item[1] else 0):
        worst = max(case["contestants"][name]["worst"])
        row = [f"**{name}**" if name == reference else name, microseconds(case, name)]
        row += [microseconds(case, name, "median"), f"{worst * 1e6:,.0f}", str(steps)]
        if loop:
            row += [microseconds(case, name, "iteration")]
            row += [str(ratio(case, name, reference, "iteration"))]
        rows.append(row)
    lines = [
        f"### {place(case)} ({case['threads']} threads)",
        (
            f"`{case['name']}`, {case['setting']}: {case['parameters']:,} parameters; "
            f"others kept {case['others_cores']:.2f} cores busy."
        ),
        table(head, rows) if rows else "",
    ]
    if case["left_out"]:
        reasons = (f"{name} ({reason})" for name, reason in case["left_out"].items())
        lines.append(f"Left out: {'; '.join(reasons)}.")
    return "\n\n".join(line for line in lines if line)


def short(result: dict[str, Any]) -> str:
    """What the report begins with, and what is printed: the goals and the summaries."""
    cases = result["cases"]
    alone = [
        {**case, "name": place(case)} for case in cases if not case["setting"].startswith("busy")
    ]
    parts = ["## Goals in the loop", goals_table(cases), disturbed({"cases": alone})]
    if absent := result["missing"] + result["skipped"]:
        parts.append(f"Not measured: {'; '.join(absent)}.")
    if rows := summary(cases):
        parts += ["## The step in the loop, beside busy cores, and in a row", rows]
    if rows := many_table(cases):
        parts += ["## Many at once", rows]
    return "\n\n".join(part for part in parts if part)


def markdown(result: dict[str, Any]) -> str:
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
    return "\n\n".join(parts) + "\n"
