"""Libraries that may be missing here, or broken."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from fusedstep._messages import printable

__all__ = ["Unusable", "library", "reason_of", "silenced"]


class Unusable(Exception):
    """A library cannot be used here; the message says why."""

    def __init__(self, reason: str, installed: bool = True) -> None:
        super().__init__(reason)
        self.installed = installed


def reason_of(error: BaseException) -> str:
    """The error in one line."""
    lines = f"{type(error).__name__}: {str(error).strip()}".splitlines()
    return printable(lines[0], 200)


def library(module: str, distribution: str) -> ModuleType:
    """Import a module of another distribution.

    Raises
    ------
    Unusable
        It is not installed, or its import fails: in whatever way, since a broken library may raise
        anything, SystemExit included.
    """
    root = module.partition(".")[0]
    try:
        importlib.import_module(root)
        return importlib.import_module(module)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001
        if isinstance(error, ModuleNotFoundError) and error.name == root:
            reason = f"not installed here: pip install {distribution}"
            raise Unusable(reason, installed=False) from None
        raise Unusable(f"its import fails with {reason_of(error)}") from None


@contextmanager
def silenced() -> Iterator[None]:
    """Without the warnings that libraries greet with."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
