"""Rules by name."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from fusedstep._definition import registry
from fusedstep._messages import shown, with_guess
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from fusedstep.typing import Params

__all__ = ["available", "create"]


def create(name: str, params: Params, **options: Any) -> Optimizer:
    """Construct a rule by its name, in any case: ``create("adamw", params, lr=1e-3)``.

    Parameters
    ----------
    name
        One of :func:`available`.
    params
        The arrays to update, as for every rule: help(fusedstep.Optimizer).
    **options
        Those of the rule, and those that every rule takes.

    Raises
    ------
    TypeError, ValueError
        No rule has that name.
    """
    if not isinstance(name, str):
        raise TypeError(f"rule: expected a name (str), got {shown(name)}: create(name, params)")
    rule = name.lower()
    if rule not in registry:
        raise ValueError(
            f"rule: got {with_guess(name, registry)}; expected one of {', '.join(registry)}"
        )
    make: Callable[..., Optimizer] = registry[rule]
    return make(params, **options)


def available(pattern: str = "*") -> list[str]:
    """The names of the rules that match a shell pattern: ``available("adam*")``."""
    return [name for name in sorted(registry) if fnmatchcase(name, pattern)]
