"""``fusedstep demo``: five rules train the same network on handwritten digits, and are compared."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import closing
from functools import partial
from pathlib import Path
from types import ModuleType

import numpy as np

import fusedstep as fs
from fusedstep._bench.libraries import Unusable, library
from fusedstep._bench.progress import progress_bar
from fusedstep._cli.errors import CommandError, check_output, write_output
from fusedstep._cli.figures import drawing
from fusedstep._cli.training import (
    BATCH_SIZE,
    TRAINING_IMAGES,
    Result,
    initial_weights,
    load_digits,
    train,
)

__all__ = ["run"]


def load_libraries() -> ModuleType:
    """What draws the picture; a CommandError that names every library that the demo cannot use."""
    loaded, missing, reasons = [], [], []
    for distribution, load in [
        ("matplotlib", partial(drawing, "fusedstep._cli.demo_figure")),
        ("scikit-learn", partial(library, "sklearn.datasets", "scikit-learn")),
        ("tqdm", partial(library, "tqdm", "tqdm")),
    ]:
        try:
            loaded.append(load())
        except Unusable as error:
            if error.installed:
                reasons.append(f"{distribution}, but {error}")
            else:
                missing.append(distribution)
    if missing:
        reasons.append(
            f"{' and '.join(missing)}, not installed here: pip install {' '.join(missing)}"
        )
    if reasons:
        raise CommandError(f"demo needs {'; '.join(reasons)}")
    return loaded[0]


def counted(epochs: int, quiet: bool) -> Generator[int, None, None]:
    """Count the epochs, reporting on standard error: a bar on a terminal, else ten lines."""
    if quiet:
        yield from range(epochs)
        return
    with progress_bar("training", epochs, "epoch") as advance:
        for epoch in range(epochs):
            yield epoch
            if advance:
                advance()
            elif 10 * (epoch + 1) // epochs > 10 * epoch // epochs:
                print(f"epoch {epoch + 1} of {epochs}", file=sys.stderr, flush=True)


def print_results(results: list[Result], n_parameters: int, n_steps: int) -> None:
    """Print the table, and below it what its timings mean."""
    print(
        f"{'rule':<10}{'lr':>7}{'train loss':>13}{'test accuracy':>16}"
        f"{'updates/s':>12}{'ns/parameter':>15}"
    )
    for result in results:
        print(
            f"{result.rule.name:<10}{result.rule.lr:>7g}{result.losses[-1]:>13.2e}"
            f"{result.accuracy:>16.1%}{1 / result.step_seconds:>12,.0f}"
            f"{result.step_seconds / n_parameters * 1e9:>15.2f}"
        )
    print(
        f"\nOnly opt.step is timed: the median of {n_steps:,} calls, on one thread ({fs.isa()}).\n"
        f"With {n_parameters:,} parameters, few enough for the cache, that is mostly the overhead "
        "of a call,\nnot memory bandwidth."
    )


def run(epochs: int, seed: int, output: Path, quiet: bool) -> None:
    """Train with every rule, print the comparison and write the picture to `output`.

    Raises
    ------
    CommandError
        A library is missing, or `output` cannot be written (found out before the training if
        possible).
    """
    check_output(output)
    figure = load_libraries()
    rng = np.random.default_rng(seed)
    digits = load_digits(rng)
    start = initial_weights(rng, digits.x_train.shape[1], int(digits.y_train.max()) + 1)
    n_parameters = sum(array.size for array in start.values())
    n_batches = TRAINING_IMAGES // BATCH_SIZE
    print(
        f"Handwritten digits: {len(digits.x_train):,} images to train, {len(digits.x_test):,} to "
        f"test; a network of {n_parameters:,} parameters (float32).\n"
        f"{epochs} epochs of {n_batches} mini-batches of {BATCH_SIZE}, drawn without replacement; "
        f"seed {seed}.\n",
        flush=True,
    )
    with closing(counted(epochs, quiet)) as epoch_numbers:  # on Ctrl-C the bar goes first
        results = train(start, digits, epoch_numbers, seed)
    print_results(results, n_parameters, epochs * n_batches)
    write_output(output, figure.render(results))
    print(f"Picture: {output}")
