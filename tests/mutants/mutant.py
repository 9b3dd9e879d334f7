"""What a mutant is."""

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Mutant:
    """A mistake in one place of the sources, and tests that must fail because of it."""

    name: str
    file: str  # in the repository
    right: str  # which occurs there once
    wrong: str
    tests: tuple[str, ...]  # arguments of pytest; a few seconds

    @property
    def is_compiled(self) -> bool:
        return not self.file.endswith(".py")

    def applied_to(self, text: str) -> str:
        """The text of the file with the mistake, or ValueError."""
        if (count := text.count(self.right)) != 1:
            raise ValueError(
                f"{self.name}: expected {self.right!r} once in {self.file}, got it {count} times"
            )
        return text.replace(self.right, self.wrong)
