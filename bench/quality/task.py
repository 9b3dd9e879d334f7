"""What a training is: a task with parameters, and how long and how fast it learns."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


class Rows(NamedTuple):
    """The gradient of some rows; an index may come more than once."""

    indices: NDArray[np.int64]
    rows: Floats


class Score(NamedTuple):
    loss: float
    metric: float  # a fraction: higher is better


class Task(Protocol):
    """A model and its data. It computes with `params`, which are written in place between steps."""

    params: dict[str, Floats]

    def gradients(self) -> tuple[float, Mapping[str, Floats | Rows]]:
        """The loss of the next batch and its gradients."""
        ...

    def score(self) -> Score:
        """On data that is not trained on."""
        ...


class Rule(NamedTuple):
    name: str
    lr: float
    options: dict[str, Any]


class Training(NamedTuple):
    name: str
    title: str
    metric: str
    steps: int
    rules: tuple[Rule, ...]
    make: Callable[[int], Task]  # of the seed


def adamw(lr: float, weight_decay: float) -> Rule:
    return Rule("adamw", lr, {"betas": (0.9, 0.999), "weight_decay": weight_decay})
