"""Functions of two variables, and the three that give plain gradient descent trouble."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["PLATEAU", "RAVINE", "SADDLE", "Landscape"]

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Landscape:
    """A function of two variables, and the part of the plane to look at.

    Parameters
    ----------
    function : callable
        ``function(x, y)``, the height at a point. It is only called with numbers.
    gradient : callable, optional
        ``gradient(x, y)``, the pair of partial derivatives. Without it they are central differences.
    start : tuple of float
        Where the paths begin.
    x_range, y_range : tuple of float
        What a figure shows.
    marks : mapping, optional
        Points to mark in a figure, by name, such as ``{"minimum": (0, 0)}``.

    Examples
    --------
    >>> landscape = Landscape(lambda x, y: x**2 + 10 * y**2, start=(-1.5, 1.0))
    >>> landscape.height([-1.5, 1.0])
    12.25
    >>> landscape.slope([-1.5, 1.0]).round(6)
    array([-3., 20.])
    """

    function: Callable[[float, float], float]
    gradient: Callable[[float, float], tuple[float, float]] | None = None
    start: tuple[float, float] = (-1.5, 1.0)
    x_range: tuple[float, float] = (-2.0, 2.0)
    y_range: tuple[float, float] = (-1.5, 1.5)
    marks: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def height(self, point: ArrayLike) -> float:
        """Return the function's value at a point.

        Parameters
        ----------
        point : array_like
            x and y.

        Returns
        -------
        float
            The height.
        """
        x, y = np.asarray(point, np.float64).tolist()
        return float(self.function(x, y))

    def slope(self, point: ArrayLike) -> Points:
        """Return the gradient at a point.

        Parameters
        ----------
        point : array_like
            x and y.

        Returns
        -------
        ndarray
            The partial derivatives along x and y.
        """
        x, y = np.asarray(point, np.float64).tolist()
        if self.gradient:
            return np.array(self.gradient(x, y), np.float64)
        # Where the errors of rounding and of truncation are alike.
        dx, dy = (np.cbrt(np.finfo(np.float64).eps) * max(1.0, abs(z)) for z in (x, y))
        f = self.function
        return np.array(
            [
                (f(x + dx, y) - f(x - dx, y)) / (2 * dx),
                (f(x, y + dy) - f(x, y - dy)) / (2 * dy),
            ]
        )


def _plateau(x: float, y: float) -> float:
    return y**2 / 200 - x / 100 - _well(x, y)


def _plateau_gradient(x: float, y: float) -> tuple[float, float]:
    well = _well(x, y)
    return (x - 3) * well - 1 / 100, y * (well + 1 / 100)


def _well(x: float, y: float) -> float:
    return math.exp(-((x - 3) ** 2 + y**2) / 2)


# A hundred times as steep across as along.
RAVINE = Landscape(
    lambda x, y: 0.1 * x**2 + 9.5 * y**2,
    lambda x, y: (0.2 * x, 19 * y),
    start=(-4.0, 1.0),
    x_range=(-4.5, 1.5),
    y_range=(-1.2, 1.3),
    marks={"minimum": (0.0, 0.0)},
)

# Down along x, but hardly at the start, beside the ridge that leads into the saddle point.
SADDLE = Landscape(
    lambda x, y: 2 * y**2 - x**2 / 8,
    lambda x, y: (-x / 4, 4 * y),
    start=(0.001, 1.0),
    x_range=(-0.8, 6.2),
    y_range=(-1.0, 1.25),
    marks={"saddle": (0.0, 0.0)},
)

# A gradient of about 0.01, and a well of depth 1 at the end.
PLATEAU = Landscape(
    _plateau,
    _plateau_gradient,
    start=(-3.5, 1.2),
    x_range=(-4.0, 4.5),
    y_range=(-1.2, 1.6),
    marks={"minimum": (3.01, 0.0)},
)
