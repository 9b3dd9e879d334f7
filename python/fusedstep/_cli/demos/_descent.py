"""What the demos of paths have in common: the five rules of the lecture descend in a landscape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusedstep.gallery import LECTURE, Animation, Landscape, animate_paths, descend, plot_paths

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusedstep._cli.demos import Numbers

__all__ = ["Descent"]


@dataclass(frozen=True)
class Descent:
    """A landscape, how the rules go through it, and what it shows."""

    landscape: Landscape
    learning_rates: Mapping[str, float]
    updates: int
    title: str

    @property
    def n_units(self) -> int:
        """The updates of all rules."""
        return self.updates * len(LECTURE)

    def compute(self, seed: int, advance: Callable[[], object]) -> Numbers:
        """The points that each rule visits; nothing is left to chance."""
        del seed
        paths = descend(
            self.landscape, lr=self.learning_rates, updates=self.updates, advance=advance
        )
        return {
            "updates": self.updates,
            "learning_rates": dict(self.learning_rates),
            "paths": {name: path.tolist() for name, path in paths.items()},
            "heights": {
                name: [self.landscape.height(point) for point in path]
                for name, path in paths.items()
            },
        }

    def draw(self, numbers: Numbers) -> Figure:
        """The map with the paths, and the height after each update."""
        return plot_paths(self.landscape, numbers["paths"], title=self.title, note=_rates(numbers))

    def animate(self, numbers: Numbers) -> Animation:
        """The same, update by update."""
        return animate_paths(
            self.landscape, numbers["paths"], title=self.title, note=_rates(numbers)
        )

    def report(self, numbers: Numbers) -> str:
        """Where each rule came."""
        rows = [f"{'rule':<10}{'lr':>6}{'x':>10}{'y':>10}{'height':>10}"]
        for name, path in numbers["paths"].items():
            x, y = path[-1]
            rows.append(
                f"{name:<10}{numbers['learning_rates'][name]:>6g}{x:>10.3f}{y:>10.3f}"
                f"{numbers['heights'][name][-1]:>10.3f}"
            )
        x, y = self.landscape.start
        return "\n".join(
            [
                f"{self.title}.",
                f"After {numbers['updates']} updates from ({x:g}, {y:g}):",
                "",
                *rows,
            ]
        )


def _rates(numbers: Numbers) -> str:
    """A rule is only as good as its learning rate."""
    rates = ", ".join(f"{name} {lr:g}" for name, lr in numbers["learning_rates"].items())
    return f"learning rates: {rates}"
