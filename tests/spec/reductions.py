"""Sums of fixed shape, and the norms that they make."""

import numpy as np

BLOCK, LANES = 2048, 32


def tree_sum(numbers):
    """The sum of float64 numbers in the shape of cpp/numeric/reduce.hpp."""
    return tree_sums(np.ravel(numbers, order="K")[None])[0]


def tree_sums(table):
    """The sum of every row; of a block that is alone, lanes alone are filled up with zeros."""
    while table.shape[1] != 1:
        count, width = table.shape
        depth = min(BLOCK // LANES, -(-width // LANES))
        padded = np.zeros((count, max(1, -(-width // BLOCK)), depth, LANES))
        padded.reshape(count, -1)[:, :width] = table
        lanes = np.zeros((*padded.shape[:2], LANES))
        for row in range(depth):
            lanes = lanes + padded[:, :, row]
        while lanes.shape[2] > 1:
            half = lanes.shape[2] // 2
            lanes = lanes[..., :half] + lanes[..., half:]
        table = lanes[..., 0]
    return table[:, 0]


def squares(grads, scale=1.0):
    """The sum of squares of each unscaled gradient; 0 for None."""
    with np.errstate(all="ignore"):
        return [
            0.0 if g is None else tree_sum((g / g.dtype.type(scale)).astype(np.float64) ** 2)
            for g in grads
        ]


def norm_of(sums):
    """The norm whose square is the sum of these."""
    with np.errstate(all="ignore"):
        return np.sqrt(tree_sum(np.array(sums)))


def grad_norm(grads, scale=1.0):
    """The norm of unscaled gradients; None where a parameter has none."""
    return norm_of(squares(grads, scale))


def clip_factor(limit, norm):
    if limit == np.inf:
        return 1.0
    with np.errstate(all="ignore"):
        factor = np.float64(limit) / (norm + 1e-6)
    return min(factor, 1.0)  # a NaN stays
