"""The training race: five rules train the same network on handwritten digits."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

import fusedstep as fs
from fusedstep._cli.demos import Numbers
from fusedstep._cli.demos._network import (
    TRAINING_IMAGES,
    Array,
    Labels,
    Weights,
    forward,
    gradients,
    initial_weights,
    load_digits,
    mean_loss,
)
from fusedstep.gallery import LECTURE, blank_figure, style_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["N_UNITS", "UNIT", "compute", "draw", "report"]

UNIT, N_UNITS = "epoch", 30
BATCH_SIZE = 64
LEARNING_RATES = {"SGD": 0.1, "Momentum": 0.2, "Adagrad": 0.02, "RMSprop": 1e-3, "Adam": 2e-3}


class Trainee:
    """One rule with its own weights, and the record of its training."""

    def __init__(self, name: str, start: Weights) -> None:
        self.weights = {name: array.copy() for name, array in start.items()}
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self._opt = LECTURE[name](self.weights, lr=LEARNING_RATES[name])

    def update(self, x: Array, y: Labels) -> None:
        """Learn from one mini-batch; only the optimizer's step is timed."""
        grads = gradients(self.weights, x, y)
        before = time.perf_counter()
        self._opt.step(grads)
        self.seconds.append(time.perf_counter() - before)

    def accuracy(self, x_test: Array, y_test: Labels) -> float:
        """The share of the images that it reads correctly."""
        _, log_probabilities = forward(self.weights, x_test)
        return float((log_probabilities.argmax(axis=1) == y_test).mean())


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """Train with every rule from the same weights on the same mini-batches."""
    rng = np.random.default_rng(seed)
    digits = load_digits(rng)
    x, y = digits.x_train, digits.y_train
    start = initial_weights(rng, x.shape[1], int(y.max()) + 1)
    trainees = {name: Trainee(name, start) for name in LEARNING_RATES}
    batches = fs.data.MiniBatches(x, y, batch_size=BATCH_SIZE, seed=seed)

    def note_losses() -> None:
        for trainee in trainees.values():
            trainee.losses.append(mean_loss(trainee.weights, x, y))

    # One thread: at this size a second gains nothing, and on a busy machine the two wait for each
    # other for milliseconds.
    with fs.num_threads(1):
        note_losses()
        for _ in range(N_UNITS):
            for x_batch, y_batch in batches:
                for trainee in trainees.values():  # in turns: noise in the timings hits all alike
                    trainee.update(x_batch, y_batch)
            note_losses()
            advance()
    return {
        "seed": seed,
        "training_images": len(x),
        "test_images": len(digits.x_test),
        "parameters": sum(array.size for array in start.values()),
        "learning_rates": LEARNING_RATES,
        "losses": {name: trainee.losses for name, trainee in trainees.items()},
        "accuracies": {
            name: trainee.accuracy(digits.x_test, digits.y_test)
            for name, trainee in trainees.items()
        },
        # The median: a step during which the system ran something else does not count.
        "timings": {
            "isa": fs.isa(),
            "step_seconds": {
                name: statistics.median(trainee.seconds) for name, trainee in trainees.items()
            },
        },
    }


def draw(numbers: Numbers) -> Figure:
    """The training loss after each epoch."""
    figure = blank_figure(9, 5)
    ax = figure.subplots()
    for name, losses in numbers["losses"].items():
        ax.semilogy(losses, **style_of(name), label=name)
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss (cross-entropy)")
    ax.legend(frameon=False)
    return figure


def report(numbers: Numbers) -> str:
    """A table, below it what its timings mean."""
    n_parameters, timings = numbers["parameters"], numbers["timings"]
    lines = [
        (
            f"Handwritten digits: {numbers['training_images']:,} images to train, "
            f"{numbers['test_images']:,} to test; a network of {n_parameters:,} parameters (float32)."
        ),
        (
            f"{N_UNITS} epochs of {TRAINING_IMAGES // BATCH_SIZE} mini-batches of {BATCH_SIZE}, drawn "
            f"without replacement; seed {numbers['seed']}."
        ),
        "",
        (
            f"{'rule':<10}{'lr':>7}{'train loss':>13}{'test accuracy':>16}"
            f"{'updates/s':>12}{'ns/parameter':>15}"
        ),
    ]
    for name, losses in numbers["losses"].items():
        seconds = timings["step_seconds"][name]
        lines.append(
            f"{name:<10}{numbers['learning_rates'][name]:>7g}{losses[-1]:>13.2e}"
            f"{numbers['accuracies'][name]:>16.1%}{1 / seconds:>12,.0f}"
            f"{seconds / n_parameters * 1e9:>15.2f}"
        )
    n_steps = N_UNITS * (TRAINING_IMAGES // BATCH_SIZE)
    lines += [
        "",
        (
            f"Only opt.step is timed: the median of {n_steps:,} calls, on one thread "
            f"({timings['isa']})."
        ),
        (
            f"With {n_parameters:,} parameters, few enough for the cache, that is mostly the overhead "
            "of a call,"
        ),
        "not memory bandwidth.",
    ]
    return "\n".join(lines)
