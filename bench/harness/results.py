"""The results of a case, as they are written to JSON, and the ratios computed from them."""

from typing import Any

from fusedstep._bench.ratio import Ratio

# Of back-to-back steps: by contestant, the "seconds" of every round and those of the "reference" in the
# same round; "left_out" has the reason for each contestant that is missing.
CaseResult = dict[str, Any]


def seconds(case: CaseResult, name: str) -> Ratio:
    return Ratio.of(case["contestants"][name]["seconds"])


def to_reference(case: CaseResult, name: str) -> Ratio:
    """A contestant's time divided by the reference's in the same round."""
    entry = case["contestants"][name]
    return Ratio.between(entry["seconds"], entry["reference"])


def if_measured(case: CaseResult, name: str) -> Ratio | None:
    return to_reference(case, name) if name in case["contestants"] else None
