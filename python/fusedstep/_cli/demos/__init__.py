"""What ``fusedstep demo`` can show: one module a demo, imported when it runs.

To add one, write its module (see `DemoModule`) and its line of `DEMOS`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from fusedstep.gallery import Animation

__all__ = ["DEMOS", "AnimatedDemo", "Demo", "DemoModule", "Numbers"]

Numbers = dict[str, Any]  # what json.dumps takes, without NaN and infinity


class DemoModule(Protocol):
    """What a demo's module has. It imports matplotlib when it draws, and no sooner."""

    UNIT: str  # what the progress counts, such as "epoch"
    N_UNITS: int

    def compute(self, seed: int, advance: Callable[[], object]) -> Numbers:
        """The numbers behind the figure; `advance` is called once a unit.

        The same seed gives the same numbers, but for those under ``"timings"``.
        """

    def draw(self, numbers: Numbers) -> Figure:
        """The figure, from these numbers alone."""

    def report(self, numbers: Numbers) -> str:
        """What the terminal shows."""


class AnimatedDemo(DemoModule, Protocol):
    """A demo that can also show its figure in motion."""

    def animate(self, numbers: Numbers) -> Animation:
        """The animation, from these numbers alone."""


class Demo(NamedTuple):
    """A demo: its name, what it shows, and what it needs beside matplotlib and tqdm."""

    name: str
    summary: str
    animated: bool = False
    needs: tuple[tuple[str, str], ...] = ()  # modules, each with its name for pip

    @property
    def module(self) -> str:
        """The name of its module."""
        return f"{__name__}.{self.name}"


SKLEARN = ("sklearn.datasets", "scikit-learn")
ML_DTYPES = ("ml_dtypes", "ml_dtypes")

DEMOS = (
    Demo("digits", "five rules train the same network on handwritten digits", needs=(SKLEARN,)),
    Demo("ravine", "five rules where it is steep across and almost flat along", animated=True),
    Demo("saddle", "five rules beside a saddle point: who leaves it first", animated=True),
    Demo("plateau", "five rules where it is almost flat: who crosses it", animated=True),
    Demo("ema", "a noisy series and its moving averages, with and without bias correction"),
    Demo("rates", "why accumulated squares starve, and RMSprop does not"),
    Demo("batches", "all samples, mini-batches, or one sample an update", needs=(SKLEARN,)),
    Demo("standardise", "raw features and z-scores, and whose mean to take", needs=(SKLEARN,)),
    Demo(
        "precision",
        "the same training with 32, 16 and 8 bits for parameters and state",
        needs=(SKLEARN, ML_DTYPES),
    ),
)
