"""A progress bar, where somebody is watching."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[[], object] | None]:
    """Yield what advances a bar on standard error; None if that is no terminal, or without tqdm."""
    try:
        tqdm = importlib.import_module("tqdm").tqdm if sys.stderr.isatty() else None
    except ModuleNotFoundError:
        tqdm = None
    if tqdm is None:
        yield None
    else:
        with tqdm(total=total, desc=title, unit=unit, leave=False) as bar:
            yield bar.update
