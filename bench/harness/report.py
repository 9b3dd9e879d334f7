"""Markdown for the reports, and what a goal is."""

from collections.abc import Iterable
from typing import Any, NamedTuple

from fusedstep._bench.ratio import Ratio

from .results import CaseResult

MISSING = "–"


class Goal(NamedTuple):
    """Met if the median reaches the bound; the range is reported beside it."""

    case: str
    measure: str
    bound: float
    reached: Ratio | None
    at_most: bool = False
    note: str = ""

    @property
    def met(self) -> str:
        if self.reached is None:
            return "not measured"
        median = self.reached.median
        return "met" if (median <= self.bound if self.at_most else median >= self.bound) else "no"


def table(head: list[str], rows: list[list[str]], words: int = 1) -> str:
    """A Markdown table, numbers in all columns but the first `words`; empty without rows."""
    if not rows:
        return ""
    rule = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *rows])


def goals_table(goals: Iterable[Goal], note: str) -> str:
    """One row per goal; `note` is the head of the last column."""
    rows = [
        [
            goal.case,
            goal.measure,
            f"{'≤' if goal.at_most else '≥'} {goal.bound:.4g}",
            str(goal.reached or ""),
            goal.met,
            goal.note,
        ]
        for goal in goals
    ]
    head = ["case", "measure", "goal", "reached (rounds)", "", note]
    return table(head, rows, words=6)


def left_out(case: CaseResult) -> str:
    """Who is missing in a case and why, as a sentence; or nothing."""
    reasons = [f"{name} ({reason})" for name, reason in case["left_out"].items()]
    return f"Left out: {'; '.join(reasons)}." if reasons else ""


def versions_of(about: dict[str, Any]) -> str:
    return ", ".join(f"{name} {number}" for name, number in about["versions"].items())


def paragraphs(*parts: str | None) -> str:
    """The parts that are not empty, with blank lines between them."""
    return "\n\n".join(part for part in parts if part)
