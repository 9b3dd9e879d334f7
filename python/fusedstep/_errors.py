"""The errors of which programs may want to know."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["ArrayChangedError", "CheckpointDamagedError", "CheckpointError"]


class ArrayChangedError(ValueError):
    """An array is no longer the one that was handed over.

    It was resized, retyped, moved to other memory, or replaced by another in the dict, list or
    module that held it. Nothing has been written. Construct a new optimizer over the arrays as they
    are now, with ``state`` and ``set_counters`` or ``load_state_dict``.
    """


class CheckpointError(ValueError):
    """A checkpoint cannot be saved or loaded: it does not fit, or is none. Nothing has changed.

    Attributes
    ----------
    differences : tuple of str
        All that does not fit, of which the message may show the first.
    """

    def __init__(self, message: str, differences: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.differences: tuple[str, ...] = tuple(differences)


class CheckpointDamagedError(CheckpointError):
    """The file is not as it was written: cut off, or with bytes that have changed."""
