"""What the compiled core takes: the options of a group, and the arrays of a parameter.

The core reads the fields by their names (cpp/bindings/specs.hpp).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

__all__ = ["Assignment", "GroupOptions", "TensorSpec"]

# An attribute that the core sets with what it changes: of what, its name, its value.
Assignment: TypeAlias = tuple[object, str, object]


@dataclass(kw_only=True, slots=True)
class GroupOptions:
    """The options of a group, as the rule reads them."""

    scalars: list[float] = field(default_factory=list)  # in the order of RuleInfo.scalars
    variant: int = 0
    coupled_weight_decay: float = 0.0
    maximize: bool = False
    max_grad_norm: float | None = None
    max_grad_value: float | None = None
    rounding: str = "nearest"  # of narrow parameters
    state_bits: int = 32  # the fewest that a number of a state may have


@dataclass(kw_only=True, slots=True)
class TensorSpec:
    """A parameter and the arrays that steps write beside it."""

    name: str
    param: Any
    states: list[Any] = field(default_factory=list)  # in the order of RuleInfo.states
    scales: list[Any] = field(default_factory=list)  # of each, or None; empty: none has any
    group: int = 0
    average: Any = None
    copy: Any = None
    correction: Any = None
