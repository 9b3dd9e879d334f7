"""The five rules of the lecture, in its forms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import fusedstep as fs

__all__ = ["LECTURE"]

LECTURE: Mapping[str, Callable[..., fs.Optimizer]] = {
    "SGD": fs.SGD,
    "Momentum": fs.Momentum,
    # With eps inside the root, as the lecture writes them.
    "Adagrad": partial(fs.Adagrad, eps=1e-8, eps_inside_sqrt=True),
    "RMSprop": partial(fs.RMSprop, alpha=0.9, eps_inside_sqrt=True),
    "Adam": fs.Adam,
}
