"""The small network that the demos train, one hidden layer of ReLUs, and handwritten digits for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import fusedstep as fs

__all__ = [
    "TRAINING_IMAGES",
    "Array",
    "Digits",
    "Labels",
    "Weights",
    "accuracy",
    "gradients",
    "initial_weights",
    "load_digits",
    "mean_loss",
    "on_one_thread",
]

Array = NDArray[np.float32]
Labels = NDArray[np.int64]
Weights = dict[str, Array]

HIDDEN = 128
TRAINING_IMAGES = 21 * 64  # three quarters of the 1,797, in whole mini-batches


@dataclass(frozen=True)
class Digits:
    """The images, standardised, and their labels."""

    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels


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


def accuracy(p: Weights, x: Array, y: Labels) -> float:
    """The share of the samples whose class it finds."""
    _, log_probabilities = forward(p, x)
    return float((log_probabilities.argmax(axis=1) == y).mean())


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


@contextmanager
def on_one_thread() -> Iterator[None]:
    """Keep BLAS and the optimizers' steps on one thread.

    At this size a second gains nothing, and on a busy machine two wait for each other for
    milliseconds.
    """
    from threadpoolctl import threadpool_limits  # scikit-learn requires it

    with threadpool_limits(1), fs.num_threads(1):
        yield
