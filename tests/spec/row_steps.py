"""Steps over some rows of a parameter, as the reference makes them."""

import numpy as np

from narrow import NarrowRun, decoded
from reductions import clip_factor, norm_of, tree_sum
from reference import Run


def gathered(indices, rows):
    """The named rows, rising, and the sums of their gradients, each added in the order given."""
    sums = {}
    for index, row in zip(indices, decoded(rows), strict=True):
        with np.errstate(all="ignore"):
            sums[index] = sums[index] + row if index in sums else row
    return sorted(sums), np.array([sums[index] for index in sorted(sums)])


def row_squares(indices, rows, scale=1.0):
    """The sum of squares of each named row's gradient."""
    _, grads = gathered(indices, rows)
    with np.errstate(all="ignore"):
        return [tree_sum(np.float64(g / g.dtype.type(scale)) ** 2) for g in grads]


class Rows:
    """A table that the reference follows through steps of rows: a lazy rule."""

    def __init__(self, rule, options, table, narrow=None):
        """`narrow` are the options of NarrowRun, which follows the table where they are given."""
        if narrow is None:
            self.run = Run(rule, options, table)
        else:
            self.run = NarrowRun(rule, options, table, **narrow)
        self.ema, self.limit = self.table.copy(), options.get("max_grad_norm")

    @property
    def table(self):
        return self.run.param

    def step(self, indices, rows, scale=1.0, norm=None):
        """Step, clipped by the norm of these rows unless another is given, which is returned."""
        named, grads = gathered(indices, rows)
        f = grads.dtype.type
        if norm is None:
            norm = norm_of(row_squares(indices, rows, scale))
        part = self.run.rows(named)
        part.step(grads, scale, 1.0 if self.limit is None else clip_factor(self.limit, norm))
        self.run.put(named, part)
        with np.errstate(all="ignore"):
            self.ema[named] = f(0.9) * self.ema[named] + f(1.0 - 0.9) * part.param
        self.run.t += 1
        return norm
