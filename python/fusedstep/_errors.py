"""The errors of which programs may want to know."""

__all__ = ["ArrayChangedError"]


class ArrayChangedError(ValueError):
    """An array is no longer the one that was handed over.

    It was resized, retyped, moved to other memory, or replaced by another in the dict, list or
    module that held it. Nothing has been written. Construct a new optimizer over the arrays as they
    are now, with ``state`` and ``set_counters`` or ``load_state_dict``.
    """
