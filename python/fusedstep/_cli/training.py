"""What ``fusedstep demo`` trains: a small network on handwritten digits; and a walk in a ravine."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

import fusedstep as fs

__all__ = [
    "BATCH_SIZE",
    "RAVINE",
    "RULES",
    "TRAINING_IMAGES",
    "Result",
    "Rule",
    "descend",
    "initial_weights",
    "load_digits",
    "train",
]

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Weights = dict[str, Array]

HIDDEN = 128
BATCH_SIZE = 64
TRAINING_IMAGES = 21 * BATCH_SIZE  # three quarters of the 1,797, in whole mini-batches


@dataclass(frozen=True)
class Rule:
    """A rule, with one learning rate for the network and one that shows its character in a ravine."""

    name: str
    make: Callable[..., fs.Optimizer]
    lr: float
    ravine_lr: float
    options: Mapping[str, Any] = field(default_factory=dict)


# The summed form as lectures write it, with eps inside the root.
SUMMED = {"eps": 1e-8, "eps_inside_sqrt": True}

RULES = (
    Rule("SGD", fs.SGD, lr=0.1, ravine_lr=0.45),
    Rule("Momentum", fs.Momentum, lr=0.2, ravine_lr=0.5),
    Rule("Adagrad", fs.Adagrad, lr=0.02, ravine_lr=0.3, options=SUMMED),
    Rule("RMSprop", fs.RMSprop, lr=1e-3, ravine_lr=0.1),
    Rule("Adam", fs.Adam, lr=2e-3, ravine_lr=0.15),
)


@dataclass(frozen=True)
class Digits:
    """The images, standardised, and their labels."""

    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels


@dataclass(frozen=True)
class Result:
    """What one rule reached: the training loss by epoch from the start on, and the time per step."""

    rule: Rule
    losses: list[float]
    accuracy: float
    step_seconds: float


# The network: 64 pixels, one hidden layer, 10 classes --------------------------------------------


def load_digits(rng: np.random.Generator) -> Digits:
    """Split scikit-learn's bundled digits, and standardise them by the training part alone."""
    from sklearn import datasets

    x, y = datasets.load_digits(return_X_y=True)
    x = x.astype(np.float32)
    train, test = np.split(rng.permutation(len(x)), [TRAINING_IMAGES])
    standardizer = fs.data.Standardizer().fit(x[train])
    return Digits(
        standardizer.transform(x[train]), y[train], standardizer.transform(x[test]), y[test]
    )


def initial_weights(rng: np.random.Generator, n_inputs: int, n_classes: int) -> Weights:
    """He et al. 2015: the variance of the activations survives a layer of ReLUs."""

    def layer(n_in: int, n_out: int) -> Array:
        return math.sqrt(2 / n_in) * rng.standard_normal((n_in, n_out), dtype=np.float32)

    return {
        "w1": layer(n_inputs, HIDDEN),
        "b1": np.zeros(HIDDEN, np.float32),
        "w2": layer(HIDDEN, n_classes),
        "b2": np.zeros(n_classes, np.float32),
    }


def forward(p: Weights, x: Array) -> tuple[Array, Array]:
    """The hidden activations and the logarithms of the class probabilities."""
    hidden = np.maximum(x @ p["w1"] + p["b1"], 0)
    logits = hidden @ p["w2"] + p["b2"]
    logits -= logits.max(axis=1, keepdims=True)
    return hidden, logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def mean_loss(p: Weights, x: Array, y: Labels) -> float:
    """The cross-entropy, averaged over the samples."""
    _, log_probabilities = forward(p, x)
    return -float(log_probabilities[np.arange(len(y)), y].mean())


def gradients(p: Weights, x: Array, y: Labels) -> Weights:
    """The gradient of `mean_loss` with respect to the weights."""
    hidden, log_probabilities = forward(p, x)
    d_logits = np.exp(log_probabilities)
    d_logits[np.arange(len(y)), y] -= 1
    d_logits /= np.float32(len(y))
    d_hidden = (d_logits @ p["w2"].T) * (hidden > 0)
    return {
        "w1": x.T @ d_hidden,
        "b1": d_hidden.sum(axis=0),
        "w2": hidden.T @ d_logits,
        "b2": d_logits.sum(axis=0),
    }


class Trainee:
    """One rule with its own weights, and the record of its training."""

    def __init__(self, rule: Rule, start: Weights) -> None:
        self.rule = rule
        self.weights = {name: array.copy() for name, array in start.items()}
        self.losses: list[float] = []
        self.seconds: list[float] = []
        self._opt = rule.make(self.weights, lr=rule.lr, **rule.options)

    def update(self, x: Array, y: Labels) -> None:
        """Learn from one mini-batch; only the optimizer's step is timed."""
        grads = gradients(self.weights, x, y)
        before = time.perf_counter()
        self._opt.step(grads)
        self.seconds.append(time.perf_counter() - before)

    def result(self, x_test: Array, y_test: Labels) -> Result:
        """Evaluate the training."""
        _, log_probabilities = forward(self.weights, x_test)
        accuracy = float((log_probabilities.argmax(axis=1) == y_test).mean())
        # The median: a step during which the system ran something else does not count.
        return Result(self.rule, self.losses, accuracy, statistics.median(self.seconds))


def train(start: Weights, digits: Digits, epochs: Iterable[int], seed: int) -> list[Result]:
    """Train with every rule from the same weights on the same mini-batches."""
    x, y = digits.x_train, digits.y_train
    trainees = [Trainee(rule, start) for rule in RULES]
    batches = fs.data.MiniBatches(x, y, batch_size=BATCH_SIZE, seed=seed)

    def note_losses() -> None:
        for trainee in trainees:
            trainee.losses.append(mean_loss(trainee.weights, x, y))

    # One thread: at this size a second gains nothing, and on a busy machine the two wait for each
    # other for milliseconds.
    with fs.num_threads(1):
        note_losses()
        for _ in epochs:
            for x_batch, y_batch in batches:
                for trainee in trainees:  # interleaved, so that noise in the timings hits all alike
                    trainee.update(x_batch, y_batch)
            note_losses()
    return [trainee.result(digits.x_test, digits.y_test) for trainee in trainees]


# The ravine: twenty times as steep across as along ----------------------------------------------


@dataclass(frozen=True)
class Ravine:
    """The bowl ``f(x, y) = (a x**2 + b y**2) / 2``, its minimum at 0."""

    curvature: tuple[float, float] = (0.2, 4.0)
    start: tuple[float, float] = (-4.5, 1.8)
    updates: int = 40

    def __call__(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height at ``(x, y)``."""
        a, b = self.curvature
        return (a * x**2 + b * y**2) / 2


RAVINE = Ravine()


def descend(rule: Rule) -> NDArray[np.float64]:
    """The points that the rule visits in the ravine, (updates + 1, 2)."""
    point = np.array(RAVINE.start)
    curvature = np.array(RAVINE.curvature)
    opt = rule.make(point, lr=rule.ravine_lr, **rule.options)
    path = [point.copy()]
    for _ in range(RAVINE.updates):
        opt.step(curvature * point)
        path.append(point.copy())
    return np.array(path)
