"""All trainings, and in which modes they run."""

from typing import NamedTuple

from .digits import DIGITS
from .modes import MODES, Mode
from .task import Rule, Training
from .text import TEXT
from .words import WORDS

# With other rules than AdamW: those that people choose, and the one that loses updates.
FEWER = ("fp32", "state-bf16", "state-8bit", "nearest", "stochastic-8bit", "split-24-8bit")


class Case(NamedTuple):
    training: Training
    rule: Rule
    modes: tuple[Mode, ...]

    @property
    def name(self) -> str:
        return f"{self.training.name}-{self.rule.name}"


def all_cases() -> list[Case]:
    return [
        Case(training, rule, tuple(m for m in MODES if rule.name == "adamw" or m.name in FEWER))
        for training in (DIGITS, TEXT, WORDS)
        for rule in training.rules
    ]
