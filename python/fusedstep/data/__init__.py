"""Preparation of training data: mini-batches without replacement, and standardised features."""

from fusedstep.data.batches import MiniBatches
from fusedstep.data.standardizer import NotFittedError, Standardizer

__all__ = ["MiniBatches", "NotFittedError", "Standardizer"]


def __dir__() -> list[str]:
    return sorted(__all__)
