"""Hyper-parameters: their types and checks.

A rule declares its options once, in the signature of its constructor, where the annotation says
which values are valid. :func:`options_of` reads the signature, so that constructors, parameter
groups and :mod:`fusedstep.functional` refuse the same values with the same message.
"""

from __future__ import annotations

import inspect
import math
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, SupportsFloat

from fusedstep._checks import as_flag, as_integer, as_number, is_integer
from fusedstep._messages import shown

__all__ = [
    "Betas",
    "Betas3",
    "Choice",
    "Count",
    "Etas",
    "Flag",
    "Fraction",
    "LearningRate",
    "Limit",
    "NonNegative",
    "Number",
    "Numbers",
    "Option",
    "Range",
    "Rate",
    "Schedule",
    "Switch",
    "check_grad_scale",
    "check_rate",
    "options_of",
    "rate_at",
]

Schedule = Callable[[int], SupportsFloat | complex]  # optax says that its own might return one


@dataclass(frozen=True)
class Number:
    """A finite number with low <= value < high; with `above`, low < value."""

    high: float = math.inf
    low: float = 0.0
    above: bool = False

    @property
    def expected(self) -> str:
        """The valid values, for messages."""
        if self.high == math.inf:
            return f"a finite number {'>' if self.above else '>='} {self.low:g}"
        return f"{self.low:g} {'<' if self.above else '<='} number < {self.high:g}"

    @property
    def documented(self) -> str:
        """The type, as docstrings name it."""
        if self.high == math.inf:
            return f"float {'>' if self.above else '>='} {self.low:g}"
        return f"float in {'(' if self.above else '['}{self.low:g}, {self.high:g})"

    def check(self, name: str, value: object) -> float:
        """Return the value as a float, or raise TypeError or ValueError."""
        return as_number(name, value, self.expected, self._accepts)

    def _accepts(self, number: float) -> bool:
        return self.low <= number < self.high and not (self.above and number == self.low)


@dataclass(frozen=True)
class Numbers:
    """A fixed count of numbers."""

    each: tuple[Number, ...]

    @property
    def count(self) -> int:
        """How many numbers."""
        return len(self.each)

    @property
    def expected(self) -> str:
        """The valid values, for messages."""
        kinds = [kind.expected for kind in self.each]
        if len(set(kinds)) == 1:
            return f"{self.count} numbers, each {kinds[0]}"
        return f"{self.count} numbers: {', then '.join(kinds)}"

    @property
    def documented(self) -> str:
        """The type, as docstrings name it."""
        kinds = [kind.documented for kind in self.each]
        if len(set(kinds)) == 1:
            return kinds[0].replace("float", f"{self.count} floats")
        return f"a {' and a '.join(kinds)}"

    def check(self, name: str, value: object) -> tuple[float, ...]:
        """Return the values as a tuple of floats, or raise TypeError or ValueError."""
        if not isinstance(value, (tuple, list)):
            raise TypeError(f"{name}: expected {self.expected}, got {shown(value)}")
        if len(value) != self.count:
            raise ValueError(f"{name}: expected {self.expected}, got {shown(value)}")
        pairs = zip(self.each, value, strict=True)
        return tuple(kind.check(f"{name}[{i}]", item) for i, (kind, item) in enumerate(pairs))


@dataclass(frozen=True)
class Switch:
    """True or False."""

    documented: ClassVar[str] = "bool"

    def check(self, name: str, value: object) -> bool:
        """Return the value as a bool, or raise TypeError."""
        return as_flag(name, value)


@dataclass(frozen=True)
class Rate:
    """A number, or a schedule: a callable from the number of completed steps to a number."""

    number: Number = Number()

    @property
    def documented(self) -> str:
        """The type, as docstrings name it."""
        return f"{self.number.documented} or schedule"

    def check(self, name: str, value: object) -> float | Schedule:
        """Return the number as a float, the schedule as it is, or raise TypeError or ValueError."""
        return value if callable(value) else self.number.check(name, value)


@dataclass(frozen=True)
class Limit:
    """A number > 0, infinity included, or None for no limit."""

    documented: ClassVar[str] = "float > 0 or None"

    def check(self, name: str, value: object) -> float | None:
        """Return the number as a float, or None, or raise TypeError or ValueError."""
        if value is None:
            return None
        expected = "a number > 0, or None"
        return as_number(name, value, expected, lambda number: number > 0, finite=False)


@dataclass(frozen=True)
class Count:
    """An integer >= 0."""

    documented: ClassVar[str] = "int >= 0"

    def check(self, name: str, value: object) -> int:
        """Return the value as an int, or raise TypeError or ValueError."""
        return as_integer(name, value, 0)


@dataclass(frozen=True)
class Choice:
    """One of a few words or numbers, or None if that is among them."""

    values: tuple[str | int | None, ...]

    @property
    def documented(self) -> str:
        """The type, as docstrings name it."""
        return f"{{{', '.join(map(repr, self.values))}}}"

    def check(self, name: str, value: object) -> str | int | None:
        """Return the choice that equals the value, or raise TypeError or ValueError."""
        is_one = value is None or isinstance(value, str) or is_integer(value)
        for choice in self.values:
            if is_one and type(choice) is type(value) and choice == value:
                return choice
        words = [*map(repr, self.values)]
        error = ValueError if is_one else TypeError
        raise error(f"{name}: expected {', '.join(words[:-1])} or {words[-1]}, got {shown(value)}")


LearningRate = Annotated[float | Schedule, Rate()]
NonNegative = Annotated[float, Number()]
Fraction = Annotated[float, Number(high=1.0)]
Betas = Annotated[tuple[float, float], Numbers((Number(high=1.0),) * 2)]
Betas3 = Annotated[tuple[float, float, float], Numbers((Number(high=1.0),) * 3)]
Etas = Annotated[
    tuple[float, float], Numbers((Number(high=1.0, above=True), Number(low=1.0, above=True)))
]
Range = Annotated[tuple[float, float], Numbers((Number(), Number()))]
Flag = Annotated[bool, Switch()]


@dataclass(frozen=True)
class Option:
    """One hyper-parameter of a rule."""

    name: str
    kind: Number | Numbers | Switch | Rate | Limit | Choice | Count
    default: Any

    def check(self, value: object) -> Any:
        """Return the value as it will be used, or raise TypeError or ValueError."""
        return self.kind.check(self.name, value)


def options_of(constructor: Callable[..., None]) -> Mapping[str, Option]:
    """The options in the signature of a constructor, in order."""
    known = {"Params": Any, "Unpack": dict, "Pipeline": Any}  # imported for type checkers alone
    hints = typing.get_type_hints(constructor, localns=known, include_extras=True)
    return {
        name: Option(name, hints[name].__metadata__[0], parameter.default)
        for name, parameter in inspect.signature(constructor).parameters.items()
        if hasattr(hints.get(name), "__metadata__")
    }


def rate_at(lr: float | Schedule, step: int) -> float:
    """Return the learning rate after `step` steps, or raise TypeError or ValueError."""
    return check_rate(lr(step), step) if callable(lr) else float(lr)


def check_rate(rate: object, step: int) -> float:
    """Return what a schedule gave after `step` steps as a float, or raise TypeError or ValueError."""
    if isinstance(rate, float) and 0.0 <= rate < math.inf:  # the usual case, at every step
        return float(rate)
    return Number().check(f"lr (of the schedule, at step {step})", rate)


def check_grad_scale(value: object) -> float:
    """Return the divisor of the gradients as a float, or raise TypeError or ValueError."""
    return as_number(
        "grad_scale",
        value,
        "a number from 2**-126 to 2**126",
        lambda number: 2.0**-126 <= number <= 2.0**126,
    )
