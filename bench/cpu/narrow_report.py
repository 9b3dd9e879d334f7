"""What narrow modes gain: the goals, and one table of all modes."""

from collections.abc import Callable, Iterator

from fusedstep._bench.contestants import OURS
from fusedstep._bench.ratio import Ratio

from ..harness.report import MISSING, Goal, table
from ..harness.results import CaseResult, seconds
from .cases import IN_CACHE, IN_MEMORY
from .modes import MODES, in_mode
from .names import CALL, ROOFLINE

# What float32 takes at least, ÷ the mode, from memory on all threads.
GAINS = {
    "bf16-state": 1.35,
    "8bit-state": 1.6,
    "bf16": 1.2,
    "split32-bf16": 1.5,
    "split24-8bit": 1.7,
    "bf16-8bit": 2.0,
}
# Where they are meant: ns per parameter of float32. Quicker memory leaves less to gain.
SLOW_MEMORY = 0.45
# A library's time ÷ ours.
PEERS = {"torchao": 4.0, "bitsandbytes": 20.0, "DeepSpeed": 1.3}
LIBRARIES = ("torch", *PEERS)

Cases = dict[str, CaseResult]


def of_narrow(cases: list[CaseResult]) -> Cases:
    """The cases on the threads that they are meant for."""
    most = max((case["threads"] for case in cases), default=1)
    return {
        case["name"]: case
        for case in cases
        if case["name"].startswith("narrow-")
        and case["threads"] == (1 if case["name"].endswith(tuple(IN_CACHE)) else most)
    }


def _against(case: CaseResult, above: str, below: str) -> Ratio | None:
    """One's time divided by the other's in the same round."""
    own = case["contestants"]
    if above not in own or below not in own:
        return None
    return Ratio.between(own[above]["seconds"], own[below]["seconds"])


def _without_call(case: CaseResult, name: str) -> list[float]:
    """The seconds of each round beside what a call takes."""
    own = case["contestants"]
    return [
        max(step - call, 1e-9)
        for step, call in zip(own[name]["seconds"], own[CALL]["seconds"], strict=True)
    ]


def _in_cache(case: CaseResult, ours: str) -> Ratio | None:
    """The mode's time divided by that of float32, both without the call."""
    if not {OURS, ours, CALL} <= case["contestants"].keys():
        return None
    return Ratio.between(_without_call(case, ours), _without_call(case, OURS))


def _per_parameter(case: CaseResult, name: str) -> float:
    return seconds(case, name).median / case["parameters"] * 1e9


def narrow_goals(cases: list[CaseResult]) -> Iterator[Goal]:
    """Those that the measured cases can answer."""
    own = of_narrow(cases)
    for name, mode in MODES.items():
        ours = in_mode(mode)
        for shape in IN_CACHE:
            if case := own.get(f"narrow-{name}-{shape}"):
                bound = 1.6 if mode.state == "8bit" else 1.15
                reached = _in_cache(case, ours)
                yield Goal(case["title"], "time ÷ float32's, without calls", bound, reached, True)
        for shape in IN_MEMORY:
            if case := own.get(f"narrow-{name}-{shape}"):
                yield from _in_memory(name, case, ours)


def _in_memory(name: str, case: CaseResult, ours: str) -> Iterator[Goal]:
    if bound := GAINS.get(name):
        taken = _per_parameter(case, OURS)
        note = f"float32 takes {taken:.2f} ns per parameter"
        note += "" if taken >= SLOW_MEMORY else f"; the goal is for {SLOW_MEMORY} or more"
        yield Goal(
            case["title"], "time of float32 ÷ ours", bound, _against(case, OURS, ours), False, note
        )
    for who, bound in PEERS.items():
        if (reached := _against(case, who, ours)) or who in case["left_out"]:
            why = case["left_out"].get(who, "")
            yield Goal(case["title"], f"time of {who} ÷ ours", bound, reached, False, why)


def narrow_table(cases: list[CaseResult]) -> str:
    """One row for each mode and number of parameters; empty if none was measured."""
    own = of_narrow(cases)
    rows = []
    for name in MODES:
        small = [own.get(f"narrow-{name}-{shape}") for shape in IN_CACHE]
        large = [own.get(f"narrow-{name}-{shape}") for shape in IN_MEMORY]
        measured = [case for case in large if case] or ([None] if any(small) else [])
        rows += [_row(in_mode(MODES[name]), small, case) for case in measured]
    head = [
        "Adam",
        "parameters",
        *(f"in cache ({shape}) ÷ float32" for shape in IN_CACHE),
        "float32, ns",
        "ours, ns",
        "float32 ÷ ours",
        "of the roofline",
        "of the arithmetic",
        *(f"{who} ÷ ours" for who in LIBRARIES),
    ]
    return table(head, rows, words=2)


def _row(ours: str, small: list[CaseResult | None], case: CaseResult | None) -> list[str]:
    """Of one mode from memory, its measurements in cache beside."""

    def given(find: Callable[[CaseResult], Ratio | None]) -> str:
        found = find(case) if case else None
        return str(found) if found else MISSING

    def nanoseconds(who: str) -> str:
        measured = case and who in case["contestants"]
        return f"{_per_parameter(case, who):.3f}" if measured else MISSING

    cells = [_in_cache(c, ours) if c else None for c in small]
    return [
        ours.removeprefix(f"{OURS}, "),
        f"{case['parameters']:,}" if case else MISSING,
        *(f"{cell.median:.2f}" if cell else MISSING for cell in cells),
        nanoseconds(OURS),
        nanoseconds(ours),
        given(lambda c: _against(c, OURS, ours)),
        given(lambda c: _against(c, ROOFLINE, ours)),
        _of_arithmetic(small[-1], case, ours),
        *(given(lambda c, who=who: _against(c, who, ours)) for who in LIBRARIES),
    ]


def _of_arithmetic(small: CaseResult | None, case: CaseResult | None, ours: str) -> str:
    """What the step takes in cache, on as many threads, divided by what it takes from memory."""
    if not small or not case or not {ours, CALL} <= small["contestants"].keys():
        return MISSING
    taken = Ratio.of(_without_call(small, ours)).median / small["parameters"] * 1e9
    return f"{taken / case['threads'] / _per_parameter(case, ours):.2f}"
