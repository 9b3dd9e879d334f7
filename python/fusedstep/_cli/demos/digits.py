"""The training race: five rules train the same network on handwritten digits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

import fusedstep as fs
from fusedstep._cli.demos import Numbers
from fusedstep._cli.demos._network import (
    Array,
    Labels,
    Weights,
    accuracy,
    gradients,
    initial_weights,
    load_digits,
    mean_loss,
    on_one_thread,
)
from fusedstep._cli.demos._panels import label_ends
from fusedstep.gallery import LECTURE, blank_figure, styles_of
from fusedstep.gallery._style import tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["N_UNITS", "UNIT", "compute", "draw", "report"]

UNIT, N_UNITS = "epoch", 30
BATCH_SIZE = 64
MARK = 7  # updates between two looks at loss and accuracy: a third of an epoch
TARGET = 0.95  # of the test images
LEARNING_RATES = {"SGD": 0.1, "Momentum": 0.2, "Adagrad": 0.02, "RMSprop": 1e-3, "Adam": 2e-3}


class Trainee:
    """One rule with its own weights, and the record of its training."""

    def __init__(self, name: str, start: Weights) -> None:
        self.weights = {name: array.copy() for name, array in start.items()}
        self.losses: list[float] = []
        self.accuracies: list[float] = []
        self.update_seconds: list[float] = []
        self.step_seconds: list[float] = []
        self._opt = LECTURE[name](self.weights, lr=LEARNING_RATES[name])

    def update(self, x: Array, y: Labels) -> None:
        """Learn from one mini-batch."""
        begin = time.perf_counter()
        grads = gradients(self.weights, x, y)
        before = time.perf_counter()
        self._opt.step(grads)
        after = time.perf_counter()
        self.step_seconds.append(after - before)
        self.update_seconds.append(after - begin)


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """Train with every rule from the same weights on the same mini-batches."""
    rng = np.random.default_rng(seed)
    digits = load_digits(rng)
    x, y = digits.x_train, digits.y_train
    start = initial_weights(rng, x.shape[1], int(y.max()) + 1)
    trainees = {name: Trainee(name, start) for name in LEARNING_RATES}
    batches = fs.data.MiniBatches(x, y, batch_size=BATCH_SIZE, seed=seed)
    updates = [0]

    def note() -> None:
        for trainee in trainees.values():
            weights = trainee.weights
            trainee.losses.append(mean_loss(weights, x, y))
            trainee.accuracies.append(accuracy(weights, digits.x_test, digits.y_test))

    with on_one_thread():
        note()
        for _ in range(N_UNITS):
            for i, (x_batch, y_batch) in enumerate(batches, 1):
                for trainee in trainees.values():  # in turns: noise in the timings hits all alike
                    trainee.update(x_batch, y_batch)
                if i % MARK == 0:
                    updates.append(updates[-1] + MARK)
                    note()
            advance()
    return {
        "seed": seed,
        "training_images": len(x),
        "test_images": len(digits.x_test),
        "parameters": sum(array.size for array in start.values()),
        "batch_size": BATCH_SIZE,
        "updates_an_epoch": len(batches),
        "learning_rates": LEARNING_RATES,
        "updates": updates,
        "losses": {name: trainee.losses for name, trainee in trainees.items()},
        "accuracies": {name: trainee.accuracies for name, trainee in trainees.items()},
        "target": TARGET,
        "updates_to_target": {
            name: next((n for n, a in zip(updates, t.accuracies, strict=True) if a >= TARGET), None)
            for name, t in trainees.items()
        },
        # Medians: an update during which the system ran something else does not count.
        "timings": {
            "isa": fs.isa(),
            "update_seconds": {
                name: statistics.median(trainee.update_seconds)
                for name, trainee in trainees.items()
            },
            "step_seconds": {
                name: statistics.median(trainee.step_seconds) for name, trainee in trainees.items()
            },
        },
    }


def seconds_to_target(numbers: Numbers, name: str) -> float | None:
    """How long a rule trains to the target."""
    updates: int | None = numbers["updates_to_target"][name]
    return updates and updates * numbers["timings"]["update_seconds"][name]


def draw(numbers: Numbers) -> Figure:
    """The loss of the whole training, and what the rules are compared by."""
    figure = blank_figure(13, 5.5)
    grid = figure.add_gridspec(2, 3, width_ratios=(4, 2, 2))
    ax = figure.add_subplot(grid[:, 0])
    epochs = np.array(numbers["updates"]) / numbers["updates_an_epoch"]
    styles = styles_of(numbers["losses"])
    for name, losses in numbers["losses"].items():
        label = f"{name}, lr {numbers['learning_rates'][name]:g}"
        ax.semilogy(epochs, losses, **styles[name], markevery=9, markersize=5, label=label)
    ax.set_title("Five rules learn to read digits: loss of the training", loc="left")
    ax.set_xlabel("epoch")
    ax.set_ylabel("cross-entropy")
    tidy(ax)
    label_ends(ax)
    draw_comparison([figure.add_subplot(grid[i, j]) for i in (0, 1) for j in (1, 2)], numbers)
    return figure


def draw_comparison(axes: Sequence[Axes], numbers: Numbers) -> None:
    """Bars: the way to the target in updates and in time, what is reached, and how fast."""
    names, target = list(numbers["losses"]), f"{numbers['target']:.0%}"
    seconds = [seconds_to_target(numbers, name) for name in names]
    speeds = [numbers["batch_size"] / numbers["timings"]["update_seconds"][n] for n in names]
    columns: list[tuple[str, list[float | None], str]] = [
        (f"updates until {target} are right", [*numbers["updates_to_target"].values()], "{:,}"),
        ("milliseconds until then", [s and 1e3 * s for s in seconds], "{:.1f}"),
        (
            "test images right, in the end",
            [shares[-1] for shares in numbers["accuracies"].values()],
            "{:.1%}",
        ),
        ("images a millisecond", [speed / 1e3 for speed in speeds], "{:.0f}"),
    ]
    colours = [style["color"] for style in styles_of(names).values()]
    for i, (ax, (title, values, text)) in enumerate(zip(axes, columns, strict=True)):
        draw_bars(ax, names, values, colours, text)
        ax.tick_params(labelleft=i % 2 == 0)  # once a row
        ax.set_title(title, loc="left", fontsize=11)


def draw_bars(
    ax: Axes,
    names: Sequence[str],
    values: Sequence[float | None],
    colours: Sequence[str],
    text: str,
) -> None:
    """A bar for each name, from above, with its value as `text` formats it; None has no bar."""
    rows = range(len(names))
    ax.barh(rows, [value or 0 for value in values], color=colours, height=0.7)
    for row, value in zip(rows, values, strict=True):
        ax.annotate(
            "not yet" if value is None else text.format(value),
            (value or 0, row),
            xytext=(4, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    ax.set_yticks(rows, names)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.set_xticks([])
    ax.margins(x=0.3)
    ax.set_xlim(left=0)
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right", "bottom"]].set_visible(False)


HEAD = """\
Handwritten digits: {images:,} images to train, {tests:,} to test; a network of {parameters:,} parameters
(float32). {epochs} epochs of {batches} mini-batches of {size}, drawn without replacement; seed {seed}.

                      after the training      to {target:.0%} right    images    one step
rule           lr  train loss  test right   updates     ms     per s   ns/param.
"""
NOTE = """
Times are this machine's, on one thread ({isa}): medians of {updates:,} updates, and of the calls of
opt.step in them. With {parameters:,} parameters, few enough for the cache, a step is mostly the overhead
of a call, not memory bandwidth."""


def report(numbers: Numbers) -> str:
    """A table, below it what its timings mean."""
    parameters, updates = numbers["parameters"], numbers["updates"][-1]
    size, batches, timings = numbers["batch_size"], numbers["updates_an_epoch"], numbers["timings"]
    text = HEAD.format(
        images=numbers["training_images"],
        tests=numbers["test_images"],
        parameters=parameters,
        epochs=updates // batches,
        batches=batches,
        size=size,
        seed=numbers["seed"],
        target=numbers["target"],
    )
    for name, losses in numbers["losses"].items():
        way, seconds = numbers["updates_to_target"][name], seconds_to_target(numbers, name)
        text += (
            f"{name:<10}{numbers['learning_rates'][name]:>7g}{losses[-1]:>12.2e}"
            f"{numbers['accuracies'][name][-1]:>12.1%}"
            f"{'-' if way is None else way:>10}"
            f"{'-' if seconds is None else f'{1e3 * seconds:.1f}':>7}"
            f"{size / timings['update_seconds'][name]:>10,.0f}"
            f"{timings['step_seconds'][name] / parameters * 1e9:>12.2f}\n"
        )
    return text + NOTE.format(isa=timings["isa"], updates=updates, parameters=parameters)
