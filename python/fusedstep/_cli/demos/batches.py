"""How many samples an update takes its gradient from: all, some, one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._cli.demos import Numbers
from fusedstep._cli.demos._network import (
    TRAINING_IMAGES,
    Digits,
    Weights,
    gradients,
    initial_weights,
    load_digits,
    mean_loss,
    on_one_thread,
)
from fusedstep.gallery import COLOURS, blank_figure, label_lines
from fusedstep.gallery._style import tidy

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["N_UNITS", "UNIT", "compute", "draw", "report"]


class Size(NamedTuple):
    """A size of batches, and how to train with it: noise limits the rate."""

    samples: int
    lr: float
    epochs: int
    colour: str


SIZES = (
    Size(1, 0.02, 6, "vermilion"),
    Size(32, 0.2, 20, "orange"),
    Size(64, 0.3, 20, "green"),
    Size(128, 0.4, 20, "sky"),
    Size(TRAINING_IMAGES, 0.8, 120, "blue"),
)
MARKS = 60  # looks at the loss in a training, evenly spaced on a logarithmic axis
TARGET = 0.1  # of the loss
UNIT, N_UNITS = "training", len(SIZES)


class Curve(NamedTuple):
    """The loss over all samples in the course of a training."""

    updates: list[int]
    losses: list[float]
    seconds_an_update: float


def train(start: Weights, digits: Digits, size: Size, seed: int) -> Curve:
    """Train with SGD and batches of this size."""
    x, y = digits.x_train, digits.y_train
    weights = {name: array.copy() for name, array in start.items()}
    opt = fs.SGD(weights, lr=size.lr)
    batches = fs.data.MiniBatches(x, y, batch_size=size.samples, seed=seed)
    marks = set(np.geomspace(1, size.epochs * len(batches), MARKS).round().astype(int).tolist())
    updates, losses, seconds = [], [], []
    for _ in range(size.epochs):
        for x_batch, y_batch in batches:
            begin = time.perf_counter()
            opt.step(gradients(weights, x_batch, y_batch))
            seconds.append(time.perf_counter() - begin)
            if opt.step_count in marks:
                updates.append(opt.step_count)
                losses.append(mean_loss(weights, x, y))
    # The median: an update during which the system ran something else does not count.
    return Curve(updates, losses, statistics.median(seconds))


def gradient_noise(weights: Weights, digits: Digits, size: Size, seed: int) -> float:
    """How far a batch's gradient is from that of all samples, in lengths of the latter.

    It is the root of the mean square over an epoch.
    """
    x, y = digits.x_train, digits.y_train
    whole = gradients(weights, x, y)
    batches = fs.data.MiniBatches(x, y, batch_size=size.samples, seed=seed)
    squares = [
        sum(float(np.sum((of_batch[name] - whole[name]) ** 2)) for name in whole)
        for of_batch in (gradients(weights, *batch) for batch in batches)
    ]
    return float(np.sqrt(np.mean(squares) / sum(np.sum(array**2) for array in whole.values())))


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """Train from the same weights with each size."""
    rng = np.random.default_rng(seed)
    digits = load_digits(rng)
    start = initial_weights(rng, digits.x_train.shape[1], int(digits.y_train.max()) + 1)
    trainings, seconds = [], []
    with on_one_thread():
        for size in SIZES:
            curve = train(start, digits, size, seed)
            trainings.append(
                {
                    "batch_size": size.samples,
                    "lr": size.lr,
                    "epochs": size.epochs,
                    "gradient_noise": gradient_noise(start, digits, size, seed),
                    "updates": curve.updates,
                    "losses": curve.losses,
                    "updates_to_target": next(
                        (
                            update
                            for update, loss in zip(curve.updates, curve.losses, strict=True)
                            if loss <= TARGET
                        ),
                        None,
                    ),
                }
            )
            seconds.append(curve.seconds_an_update)
            advance()
    return {
        "seed": seed,
        "training_images": TRAINING_IMAGES,
        "target": TARGET,
        "trainings": trainings,
        "timings": {"isa": fs.isa(), "update_seconds": seconds},
    }


def name_of(size: int, images: int) -> str:
    """What a batch size is called."""
    return {1: "1 sample", images: f"all {images:,}"}.get(size, str(size))


def draw(numbers: Numbers) -> Figure:
    """The loss against samples seen, and against time."""
    figure = blank_figure(12, 5)
    left, right = figure.subplots(1, 2, sharey=True)
    images = numbers["training_images"]
    colours = {size.samples: COLOURS[size.colour] for size in SIZES}
    for training, seconds in zip(
        numbers["trainings"], numbers["timings"]["update_seconds"], strict=True
    ):
        size, updates = training["batch_size"], np.array(training["updates"])
        style = {"color": colours[size], "linewidth": 2, "label": name_of(size, images)}
        left.loglog(size * updates, training["losses"], **style)
        right.loglog(1e3 * seconds * updates, training["losses"], **style)
    left.axvline(images, color="0.6", linewidth=1, linestyle=":")
    left.annotate(
        "one epoch",
        (images, 1),
        xycoords=("data", "axes fraction"),
        xytext=(4, -10),
        textcoords="offset points",
        color="0.4",
    )
    left.set_title("By samples seen: small batches get further", loc="left")
    left.set_xlabel("samples seen")
    left.set_ylabel("loss over all training samples")
    right.set_title("By time: mini-batches are ahead", loc="left")
    right.set_xlabel("milliseconds of training, on this machine")
    for ax in (left, right):
        tidy(ax)
    for ax in (left, right):
        label_lines(ax)
    return figure


HEAD = """\
The digits again, by SGD: {images:,} images, in batches of different sizes, each at a rate of its
own, which noise limits; seed {seed}.

                      gradient           until the loss is {target:g}
batch           lr       noise      updates    samples       ms
"""
NOTE = """
Noise: how far a batch's gradient is from that of all samples, in lengths of the latter, at the
start; it falls as one over the root of the batch size. An update of one sample takes about as long
as one of 32, and an update of all waits for all.
Times are this machine's, on one thread ({isa}): the median of an update, times their number."""


def report(numbers: Numbers) -> str:
    """A table, and what to see in it."""
    images, timings = numbers["training_images"], numbers["timings"]
    text = HEAD.format(images=images, seed=numbers["seed"], target=numbers["target"])
    for training, seconds in zip(numbers["trainings"], timings["update_seconds"], strict=True):
        size, updates = training["batch_size"], training["updates_to_target"]
        way = ("-", "-", "-")
        if updates is not None:
            way = (f"{updates:,}", f"{size * updates:,}", f"{1e3 * seconds * updates:.1f}")
        text += (
            f"{name_of(size, images):<12}{training['lr']:>6g}{training['gradient_noise']:>12.2f}"
            f"{way[0]:>13}{way[1]:>11}{way[2]:>9}\n"
        )
    return text + NOTE.format(isa=timings["isa"])
