"""Rules by name."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from fusedstep.optimizer import Optimizer, registry

__all__ = ["available", "create"]


def create(name: str, params: object, **options: Any) -> Optimizer:
    """Construct a rule by its name, in any case: ``create("adamw", params, lr=1e-3)``.

    Raises
    ------
    ValueError
        No rule has that name.
    """
    rule = str(name).lower()
    if rule not in registry:
        raise ValueError(f"rule: expected one of {', '.join(registry)}, got {name!r}")
    make: Callable[..., Optimizer] = registry[rule]
    return make(params, **options)


def available(pattern: str = "*") -> list[str]:
    """The names of the rules that match a shell pattern: ``available("adam*")``."""
    return [name for name in sorted(registry) if fnmatchcase(name, pattern)]
