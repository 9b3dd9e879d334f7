"""What messages show of what came from outside: within a bound, and in characters that print.

A user may pass an array, a model, a list of a million numbers, or a name that no terminal can show.
Whatever it was, the message about it is short, and making it does not fail.
"""

from __future__ import annotations

import difflib
import reprlib
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import Any

import numpy as np

__all__ = ["listed", "no_parameter", "printable", "shown", "some", "with_guess"]

_WIDTH = 100  # the characters of one value or name
_SEARCHED = 1000  # names among which what was meant is looked for, which takes a while for each


def printable(text: str, width: int = _WIDTH) -> str:
    """The text with an escape for every character that does not print; of a long one both ends."""
    if not text.isprintable():
        ends = text if len(text) <= 2 * width else text[:width] + text[-width:]
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in ends)
    if len(text) <= width:
        return text
    tail = width // 3
    return f"{text[: width - tail - 3]}...{text[-tail:]}"


def shown(value: object) -> str:
    """The repr of a value, within a bound; of an array its type, dtype and shape."""
    return printable(" ".join(_SHORT.repr(value).split()))


def some(items: Iterable[str], count: int, width: int) -> list[str]:
    """The first items, at most `count` and about `width` characters, and "..." for the rest."""
    result: list[str] = []
    for item in items:
        if len(result) == count or width < 0:
            return [*result, "..."]
        result.append(item)
        width -= len(item)
    return result


def listed(values: Iterable[Any], show: Callable[[Any], str] = printable) -> str:
    """The first ten of these names, or of other values with ``show=shown``."""
    return ", ".join(some(map(show, values), 10, 400))


def with_guess(name: object, known: Collection[str]) -> str:
    """An unknown name, and which of the known ones was probably meant."""
    if isinstance(name, str) and len(name) <= _WIDTH and len(known) <= _SEARCHED:
        lower = {one.lower(): one for one in known}
        for guess in difflib.get_close_matches(name.lower(), lower, n=1, cutoff=0.75):
            return f"{shown(name)} (did you mean {printable(lower[guess])}?)"
    return shown(name)


def no_parameter(names: Collection[object], known: Collection[str], what: str = "parameter") -> str:
    """That no parameter, or other `what`, has these names; and which there are."""
    culprits = listed(names, partial(with_guess, known=known))
    return f"no {what} is named {culprits}; there are {listed(known)}"


class _Short(reprlib.Repr):
    """Short forms of nested values, whatever their own repr does."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = _WIDTH
        self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = self.maxdict = 4

    def repr1(self, x: Any, level: int) -> str:
        try:
            return _describe_array(x) if _is_array(x) else super().repr1(x, level)
        except Exception:  # noqa: BLE001 - of someone's own repr; or an integer of many digits
            return f"<{type(x).__name__}>"


_SHORT = _Short()


def _is_array(value: Any) -> bool:
    """Whether this is an array whose numbers would fill the message."""
    if isinstance(value, (type, np.generic)):
        return False
    if isinstance(value, np.ndarray):
        return value.size > 3 or value.dtype.hasobject
    return hasattr(value, "shape") and hasattr(value, "dtype")


def _describe_array(array: Any) -> str:
    return f"<{type(array).__name__} of {array.dtype}, shape {tuple(array.shape)}>"
