"""Which parameters weight decay is for: the option ``decay_mask``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import numpy as np

from fusedstep._messages import listed, shown

__all__ = ["DecayMask", "check_mask", "masked_out"]

# A function of a parameter's name and array, or patterns of names.
DecayMask: TypeAlias = Callable[[str, Any], bool] | Sequence[str]

_EXPECTED = "a function of name and array, or a list of name patterns such as '*.weight'"


def check_mask(mask: Any) -> DecayMask | None:
    """Return a function, or a list of patterns, or None; or raise TypeError or ValueError."""
    if mask is None or callable(mask):
        return mask  # type: ignore[no-any-return]
    patterns = [mask] if isinstance(mask, str) else mask
    if not isinstance(patterns, (list, tuple)):
        raise TypeError(f"decay_mask: expected {_EXPECTED}, got {shown(mask)}")
    if wrong := [pattern for pattern in patterns if not isinstance(pattern, str)]:
        raise TypeError(f"decay_mask: expected {_EXPECTED}, got {shown(wrong[0])} in the list")
    if not patterns:
        raise ValueError(f"decay_mask: expected {_EXPECTED}, got an empty list")
    return [*patterns]


def masked_out(
    mask: DecayMask, params: Iterable[tuple[int, str, Any]], *, may_miss: bool = False
) -> set[int]:
    """The numbers of the parameters, given with name and array, that are not to decay.

    Raises
    ------
    TypeError
        The function returns something else than True or False.
    ValueError
        It is true for no parameter, or a pattern matches none, unless it `may_miss`.
    """
    params = [*params]
    names = [name for _, name, _ in params]
    if callable(mask):
        chosen = {i for i, name, array in params if _answer(mask, name, array)}
        if not (chosen or may_miss):
            raise ValueError(
                "decay_mask: expected a function that is true for a parameter at least, got one "
                f"that is false for all: {listed(names)}"
            )
    else:
        missed = [p for p in mask if not any(fnmatchcase(name, p) for name in names)]
        if missed and not may_miss:
            raise ValueError(
                f"decay_mask: no parameter matches {listed(missed, shown)}; "
                f"there are {listed(names)}"
            )
        chosen = {i for i, name, _ in params if any(fnmatchcase(name, p) for p in mask)}
    return {i for i, _, _ in params if i not in chosen}


def _answer(mask: Callable[[str, Any], bool], name: str, array: Any) -> bool:
    answer = mask(name, array)
    if not isinstance(answer, (bool, np.bool_)):
        raise TypeError(
            f"decay_mask({shown(name)}, array): expected True or False, got {shown(answer)}"
        )
    return bool(answer)
