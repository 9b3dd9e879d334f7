"""One training in one mode from one seed, and what is recorded of it."""

import time
from typing import Any

import numpy as np

from .modes import Mode
from .task import Rule, Training
from .weights import Weights

POINTS = 20  # of a curve


def learn(training: Training, rule: Rule, mode: Mode, seed: int, steps: int) -> dict[str, Any]:
    """The curve is the loss of the training's batches, averaged between its points.

    At each point begins a stretch, whose update is compared with that of float32: after one step and
    at its end.
    """
    start = time.perf_counter()
    task = training.make(seed)
    weights = Weights(task.params, rule, mode, seed, steps)
    stretch = max(1, steps // POINTS)
    curve, one_step, whole = [], [], []
    for begin in range(0, steps, stretch):
        losses = []
        weights.mark()
        for step in range(begin, min(begin + stretch, steps)):
            loss, gradients = task.gradients()
            weights.step(gradients)
            losses.append(loss)
            if step == begin:
                one_step.append(weights.angle())
        whole.append(weights.angle())
        curve.append(float(np.mean(losses)))
    loss, metric = task.score()
    return {
        "seed": seed,
        "training_loss": curve[-1],
        "loss": loss,
        "metric": metric,
        "curve": curve,
        "angle_of_a_step": one_step,
        "angle_of_a_stretch": whole,
        "seconds": time.perf_counter() - start,
    }
