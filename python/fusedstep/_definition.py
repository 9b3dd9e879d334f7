"""What the class of a rule says of it, and the rules by name."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from fusedstep import _core
from fusedstep._docstring import of_class
from fusedstep._options import Option, options_of
from fusedstep._pipeline import GROUP_OPTIONS
from fusedstep._rule import Rule

__all__ = ["DefinesRule", "registry"]

# In the order of their definition.
registry: dict[str, type[Any]] = {}


class DefinesRule:
    """A class whose subclasses define a rule each: its name, and the options in their signature."""

    rule: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Option]] = MappingProxyType({})
    starts_at_parameter: ClassVar[tuple[str, ...]] = ()
    info: ClassVar[_core.RuleInfo]
    definition: ClassVar[Rule]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in cls.__dict__:
            own = options_of(cls.__init__)
            cls.options = MappingProxyType({**own, **GROUP_OPTIONS})
            cls.info = _core.rules()[cls.rule]
            registry[cls.rule] = cls
            cls.__doc__ = of_class(cls, own.values())
        if cls.rule:
            cls.definition = Rule(
                cls.rule,
                cls.__name__,
                cls.options,
                cls.info,
                cls._check_together,
                cls.initial_state,
                cls.formed_with,
                cls.starts_at_parameter,
            )

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        """Raise ValueError for options that are valid by themselves but not together."""

    @staticmethod
    def formed_with(values: Mapping[str, Any]) -> object:  # noqa: ARG004
        """What of the options the parameters were formed with, and are to be read with."""
        return None

    @staticmethod
    def initial_state(values: Mapping[str, Any]) -> Mapping[str, float]:  # noqa: ARG004
        """The initial values, by name, of the state arrays that do not start at 0."""
        return {}
