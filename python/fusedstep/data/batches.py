"""Mini-batches drawn without replacement."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fusedstep._checks import as_integer

__all__ = ["BatchSizeHint", "MiniBatches"]


class BatchSizeHint(UserWarning):
    """A batch size that is not a power of two: correct, but it may leave part of a device idle."""


class MiniBatches:
    """Mini-batches of one or several arrays, drawn without replacement.

    One iteration over the object is one *epoch*: a new permutation of the samples, cut into
    batches, so that each sample occurs exactly once. Drawing with replacement is not recommended:
    an epoch would omit about 37 % of the samples and repeat others. One batch gives one update,
    with the mean of its gradients: ``batch_size=1`` is stochastic gradient descent, ``len(x)`` is
    batch gradient descent; 32, 64 and 128 are usual, powers of two because many devices work in
    powers of two, where 10 samples take the time of 16.

    Parameters
    ----------
    *arrays : array_like
        The data, with the samples along the first axis, which all arrays share: ``x``, or ``x, y``.
        They are neither copied nor changed. Each batch is a copy, which may be written to.
    batch_size : int, default 32
        Samples per batch, >= 1. A size that is not a power of two warns with `BatchSizeHint`.
    seed : int, default 0
        Seed of the permutations, >= 0.
    drop_last : bool, default False
        Leave out the last batch of an epoch where it is smaller than `batch_size`.
    shuffle : bool, default True
        Permute the samples. False keeps the order of the data, for example for evaluation.

    Raises
    ------
    ValueError
        If the arrays differ in length or have no samples, or if an epoch would have no batch.

    Notes
    -----
    The order of an epoch depends only on `seed` and the number of the epoch (PCG64, seeded with
    child `epoch` of ``SeedSequence(seed)``), so that a run can be resumed with `set_epoch`. NumPy
    may change the stream of its ``Generator``, and with it the order, between versions (NEP 19).

    Each ``iter()`` begins the next epoch, even if the last one is not finished: iterators are
    independent and have different permutations.

    Examples
    --------
    >>> x, y = np.arange(10.0).reshape(5, 2), np.arange(5)
    >>> batches = MiniBatches(x, y, batch_size=2, shuffle=False)
    >>> [labels.tolist() for _, labels in batches]
    [[0, 1], [2, 3], [4]]
    """

    def __init__(
        self,
        *arrays: ArrayLike,
        batch_size: int = 32,
        seed: int = 0,
        drop_last: bool = False,
        shuffle: bool = True,
    ) -> None:
        self._arrays = tuple(np.asarray(array) for array in arrays)
        self._batch_size = as_integer("MiniBatches: batch_size", batch_size, 1)
        self._seed = as_integer("MiniBatches: seed", seed, 0)
        self._drop_last = bool(drop_last)
        self._shuffle = bool(shuffle)
        self._n_samples = _common_length(self._arrays)
        self.set_epoch(0)
        if len(self) == 0:
            raise ValueError(
                f"MiniBatches: batch_size: expected at most {self._n_samples} with drop_last (an "
                f"epoch would have no batch), got {self._batch_size}"
            )
        slots = 1 << (self._batch_size - 1).bit_length()
        if slots != self._batch_size:
            hint = (
                f"batch_size {self._batch_size} is not a power of two: a device that works in "
                f"powers of two needs {slots} slots for it"
            )
            warnings.warn(hint, BatchSizeHint, stacklevel=2)

    @property
    def epoch(self) -> int:
        """The number of the next epoch, which is the number of epochs that have begun."""
        return self._epoch

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be epoch number `epoch`, counted from 0."""
        self._epoch = as_integer("MiniBatches: epoch", epoch, 0)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        whole, rest = divmod(self._n_samples, self._batch_size)
        return whole + (rest > 0 and not self._drop_last)

    # A batch is an array or a tuple of arrays, depending on their number; a union type would make
    # every caller narrow it.
    def __iter__(self) -> Iterator[Any]:
        """Begin the next epoch and return the iterator over its batches."""
        epoch = self._epoch
        self._epoch += 1
        return self._batches(epoch)

    def _batches(self, epoch: int) -> Iterator[Any]:
        order = self._order(epoch)
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            rows = order[start : start + self._batch_size]
            # take gathers 256-byte rows three times as fast as array[rows].
            batch = tuple(array.take(rows, axis=0) for array in self._arrays)
            yield batch if len(batch) > 1 else batch[0]

    def _order(self, epoch: int) -> NDArray[np.intp]:
        if not self._shuffle:
            return np.arange(self._n_samples)
        # A spawn key, not SeedSequence([seed, epoch]), which concatenates the 32-bit words of both,
        # so that seed 2**32, epoch 0 would have the order of seed 0, epoch 1.
        child = np.random.SeedSequence(self._seed, spawn_key=(epoch,))
        return np.random.Generator(np.random.PCG64(child)).permutation(self._n_samples)

    def __repr__(self) -> str:
        arrays = ", ".join(f"{array.dtype}{list(array.shape)}" for array in self._arrays)
        return (
            f"MiniBatches({arrays}, batch_size={self._batch_size}, seed={self._seed}, "
            f"drop_last={self._drop_last}, shuffle={self._shuffle}, epoch={self._epoch})"
        )


def _common_length(arrays: tuple[NDArray[Any], ...]) -> int:
    shapes = [array.shape for array in arrays]
    if not shapes or () in shapes:
        raise ValueError(f"MiniBatches: arrays: expected one axis or more, got shapes {shapes}")
    lengths: list[int] = [shape[0] for shape in shapes]
    if lengths[0] == 0 or len(set(lengths)) > 1:
        raise ValueError(f"MiniBatches: arrays: expected equal lengths >= 1, got {lengths}")
    return lengths[0]
