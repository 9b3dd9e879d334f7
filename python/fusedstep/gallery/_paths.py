"""The path that a rule takes through a landscape."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

import fusedstep as fs
from fusedstep.gallery._landscapes import Landscape
from fusedstep.gallery._rules import LECTURE

__all__ = ["descend"]


def descend(
    landscape: Landscape,
    rules: Mapping[str, Callable[..., fs.Optimizer]] = LECTURE,
    *,
    lr: float | Mapping[str, float] = 0.1,
    updates: int = 40,
    advance: Callable[[], object] = lambda: None,
) -> dict[str, NDArray[np.float64]]:
    """Let rules descend from the landscape's start.

    Parameters
    ----------
    landscape : Landscape
        Where to.
    rules : mapping
        From names to optimizers, such as ``{"Lion": fs.Lion}``; by default the five of the lecture.
    lr : float or mapping
        The learning rate, or one for each name.
    updates : int
        How many each rule makes.
    advance : callable, optional
        What to call after each update of each rule, such as the ``update`` of a progress bar.

    Returns
    -------
    dict
        For each name the points that it visits: an array of shape ``(updates + 1, 2)``.

    Examples
    --------
    >>> import fusedstep as fs
    >>> paths = descend(RAVINE, {"Adam": fs.Adam}, lr=0.5, updates=2)
    >>> paths["Adam"].round(2)
    array([[-4.  ,  1.  ],
           [-3.5 ,  0.5 ],
           [-3.  ,  0.03]])
    """
    paths = {}
    for name, make in rules.items():
        point = np.array(landscape.start, np.float64)
        opt = make(point, lr=lr[name] if isinstance(lr, Mapping) else lr)
        path = [point.copy()]
        for _ in range(updates):
            opt.step(landscape.slope(point))
            path.append(point.copy())
            advance()
        paths[name] = np.array(path)
    return paths
