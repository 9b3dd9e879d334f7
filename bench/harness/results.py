"""What was measured of a case, as it is written to JSON, and ratios out of it."""

from typing import Any

from fusedstep._bench.ratio import Ratio

# Of steps in a row: "contestants" has by name "seconds" per round, and those of the "reference" in
# the same round; "left_out" has who is missing, with the reason.
CaseResult = dict[str, Any]


def seconds(case: CaseResult, name: str) -> Ratio:
    return Ratio.of(case["contestants"][name]["seconds"])


def to_reference(case: CaseResult, name: str) -> Ratio:
    """A contestant's time divided by the reference's in the same round."""
    entry = case["contestants"][name]
    return Ratio.between(entry["seconds"], entry["reference"])


def if_measured(case: CaseResult, name: str) -> Ratio | None:
    return to_reference(case, name) if name in case["contestants"] else None
