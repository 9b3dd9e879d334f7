"""A bar per case on a terminal, else a line per case."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fusedstep._bench.progress import progress_bar


def report_time(title: str, start: float) -> None:
    print(f"  {title}: {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], object]]:
    """Yield what to call after each stretch."""
    start = time.perf_counter()
    with progress_bar(title, total, "stretch") as advance:
        yield advance or (lambda: None)
    if not advance:
        report_time(title, start)
