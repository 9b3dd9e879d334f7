"""A progress bar, where somebody is watching."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fusedstep._bench.libraries import Unusable, library

__all__ = ["progress_bar"]


@contextmanager
def progress_bar(title: str, total: int, unit: str) -> Iterator[Callable[[], object] | None]:
    """Yield what advances a bar on standard error; None if that is no terminal, or without tqdm."""
    try:
        tqdm = library("tqdm", "tqdm").tqdm if sys.stderr.isatty() else None
    except (Unusable, AttributeError):
        tqdm = None
    if tqdm is None:
        yield None
    else:
        with tqdm(total=total, desc=title, unit=unit, leave=False) as bar:
            yield bar.update
