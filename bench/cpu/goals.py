"""The goals of back-to-back steps, and what was reached."""

from collections.abc import Iterator

from fusedstep._bench.contestants import OURS

from ..harness.report import Goal
from ..harness.results import CaseResult, if_measured, to_reference
from .cases import ALIGNED, NATURAL, ODD, TORCH_FUSED_TOO
from .names import (
    DEEPSPEED,
    DROP_IN,
    FOREACH,
    FUSED,
    NUMBA,
    NUMBA_ONE_ARRAY,
    PASSED,
    ROOFLINE,
    TEXTBOOK,
)
from .ratios import is_adam, is_whole, overhead, peers


def _against(case: CaseResult, title: str, wanted: dict[str, float]) -> Iterator[Goal]:
    """Against named peers; "" is the fastest one."""
    for name, bound in wanted.items():
        order = peers(case)
        who = name or (order[0] if order else "")
        reached = if_measured(case, who)
        why = "" if reached else case["left_out"].get(who, "")
        yield Goal(
            title, f"time of {name or 'best peer'} ÷ ours", bound, reached, False, why or who
        )


def _large(by_name: dict[str, CaseResult]) -> Iterator[Goal]:
    for name, title in (("gpt2", "GPT-2"), ("llama-2-7b-layer", "Llama layer")):
        if case := by_name.get(name):
            part = if_measured(case, ROOFLINE)
            yield Goal(title, "fraction of the same-stream roofline", 0.97, part)
            yield from _against(case, title, {"": 1.0, TEXTBOOK: 12.0})


def _adam(by_name: dict[str, CaseResult]) -> Iterator[Goal]:
    wanted = {
        "resnet50": ("ResNet-50", {"": 1.1, FUSED: 1.35}),
        "mobilenetv2": ("MobileNetV2", {"": 1.5}),
        "mlp": ("MLP 109k", {DEEPSPEED: 3.0, FUSED: 5.0}),
        "adam-100k": ("resident 100k", {DEEPSPEED: 1.3, FUSED: 2.0, NUMBA: 1.0}),
        "adam-1M": ("resident 1M", {DEEPSPEED: 1.3, FUSED: 2.0, NUMBA: 1.0}),
    }
    for name, (title, bounds) in wanted.items():
        if case := by_name.get(name):
            yield from _against(case, title, bounds)
    if (case := by_name.get("mlp")) and NUMBA_ONE_ARRAY in case["contestants"]:
        ratio = to_reference(case, NUMBA_ONE_ARRAY).inverse
        yield Goal("MLP 109k", f"our time ÷ {NUMBA_ONE_ARRAY}", 1.15, ratio, True)
    cells = [
        (to_reference(case, peer), f"worst cell: {peer}, {name}")
        for name, case in by_name.items()
        if is_adam(case)
        for peer in peers(case)[:1]
    ]
    if cells:
        worst, where = min(cells)
        yield Goal("every Adam cell", "time of best peer ÷ ours", 1.0, worst, False, where)


def _overhead(cases: list[CaseResult]) -> Iterator[Goal]:
    if fit := overhead(cases, OURS):
        yield Goal("overhead, bound", "µs per step", 3.0, fit.fixed, True)
        yield Goal("overhead, bound", "ns per tensor", 30.0, fit.per_tensor, True)
    if fit := overhead(cases, DROP_IN):
        yield Goal("overhead, fusedstep.torch", "µs per step", 12.0, fit.fixed, True)
    if fit := overhead(cases, PASSED):
        yield Goal("overhead, passed anew", "ns per tensor", 120.0, fit.per_tensor, True)


def _rest(by_name: dict[str, CaseResult]) -> Iterator[Goal]:
    for name, case in by_name.items():
        if name.startswith("placement-"):
            for where in (NATURAL, ODD):
                ratio = to_reference(case, f"{OURS}, {where}")
                title = f"{where}, {name.partition('-')[2]}"
                yield Goal(title, f"our time ÷ our time {ALIGNED}", 1.1, ratio, True)
        elif name.startswith("rule-"):
            _, rule, shape = name.split("-")
            for goal in _against(case, f"{rule}, {shape}", {"": 4.0}):
                note = "; torch has a fused form" if rule in TORCH_FUSED_TOO else ""
                yield goal._replace(note=goal.note + note)
            yield from _against(case, f"{rule}, {shape}", {FOREACH: 4.0})
        elif name.startswith("mean-"):
            numpy_peers = [peer for peer in peers(case) if peer.startswith("NumPy")]
            if numpy_peers:
                yield from _against(case, case["title"], {numpy_peers[0]: 2.0})
        elif is_whole(case):
            for peer in [peer for peer in peers(case) if peer.startswith("torch")][:1]:
                yield from _against(case, case["title"], {peer: 2.0})
            part = if_measured(case, ROOFLINE)
            yield Goal(case["title"], "fraction of its own roofline", 0.9, part)


def goals(cases: list[CaseResult]) -> list[Goal]:
    """The goals that the measured cases can answer."""
    by_name = {case["name"]: case for case in cases}
    return [*_large(by_name), *_adam(by_name), *_overhead(cases), *_rest(by_name)]
