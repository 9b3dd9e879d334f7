"""What is saved of an optimizer or an average: a plain value, compared before it is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fusedstep._checks import is_integer
from fusedstep._errors import CheckpointError
from fusedstep._group import Group
from fusedstep._messages import listed, printable, shown, some
from fusedstep._spaces.space import Kind

__all__ = ["FORMAT", "MAX_STEP", "SAVED", "Expected", "Parameter", "ParameterKind", "Snapshot"]

FORMAT = 1  # of Snapshot, and of the dict that Optimizer.state_dict returns
SAVED = ("format", "rule", "step_count", "groups", "state")  # the keys of that dict
MAX_STEP = 2**63 - 1


class Parameter(NamedTuple):
    """The values of a parameter."""

    values: NDArray[Any]
    """In a dtype of NumPy's; of bfloat16 and float16 the bits, as uint16."""
    format: str


class ParameterKind(NamedTuple):
    """What a parameter must be like."""

    format: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Expected:
    """What a snapshot is compared with before it is loaded."""

    rule: str
    fixed: Mapping[str, object]
    groups: Sequence[Group]
    state: Mapping[str, Mapping[str, Kind]]
    params: Mapping[str, ParameterKind]
    target: str  # what has the state, for messages


@dataclass(frozen=True)
class Snapshot:
    """Counters, options and arrays.

    The fields of a snapshot that was read from elsewhere are unchecked until it is compared.
    """

    rule: str
    step_count: int
    groups: Sequence[Mapping[str, Any]]
    """The options of each group, its ``lr`` as a number, and the names of its ``params``."""
    state: Mapping[str, Mapping[str, Any]]
    """By parameter name: ``step``, its counter, and its arrays by name."""
    fixed: Mapping[str, object] = field(default_factory=dict)
    """Options that are fixed at construction, and must be equal to be loaded."""
    format: int = FORMAT
    params: Mapping[str, Parameter] | None = None
    """The parameters by name, where they are saved with it."""

    def as_dict(self) -> dict[str, Any]:
        """What ``Optimizer.state_dict`` returns."""
        return {key: getattr(self, key) for key in SAVED}

    def compare(self, expected: Expected, found: list[str]) -> list[dict[str, Any]]:
        """Return the options of each group once this is loaded, and append all differences."""
        if _differs(self.format, FORMAT):
            found.append(f"format: expected {FORMAT}, got {shown(self.format)}")
        if _differs(self.rule, expected.rule):
            found.append(f"rule: expected {expected.rule!r}, got {shown(self.rule)}")
        for name, value in expected.fixed.items():
            if _differs(self.fixed[name], value):
                found.append(f"{name}: expected {value}, got {shown(self.fixed[name])}")
        _compare_counter("step_count", self.step_count, found)
        _compare_state(self.state, expected, found)
        if self.params is not None:
            _compare_params(self.params, expected, found)
        options = _compare_groups(self.groups, expected.groups, found)
        for i, group in enumerate(expected.groups):
            if group.has_schedule and not found:
                try:
                    group.lr_at(int(self.step_count))
                except (TypeError, ValueError) as error:
                    found.append(f"group {i}: {error}")
        return options


def copied(snapshot: Snapshot) -> Snapshot:
    """The same with copies of all arrays."""
    state = {
        name: {key: np.array(v, order="K") if key != "step" else v for key, v in own.items()}
        for name, own in snapshot.state.items()
    }
    return replace(snapshot, state=state)


def misfit(error: type[ValueError], what: str, found: Sequence[str]) -> ValueError:
    """The error that says `what` is wrong and lists why, of many reasons the first."""
    message = what + ":" + "".join(f"\n  {line}" for line in some(found, 20, 1500))
    return error(message, found) if issubclass(error, CheckpointError) else error(message)


# The functions below append the differences that they find to `found`.


def _differs(saved: object, expected: object) -> bool:
    """Whether a saved scalar is not `expected`; an array always differs."""
    return not (isinstance(saved, (int, float, str, np.generic)) and saved == expected)


def _compare_counter(what: str, saved: object, found: list[str]) -> None:
    if not (is_integer(saved) and 0 <= int(saved) <= MAX_STEP):
        found.append(f"{what}: expected an integer from 0 to 2**63 - 1, got {shown(saved)}")


def _compare_state(saved: object, expected: Expected, found: list[str]) -> None:
    target, names = expected.target, expected.state
    if not isinstance(saved, Mapping):
        found.append(f"state: expected a mapping by {target}, got {type(saved).__name__}")
        return
    found += [f"{target} {shown(name)}: missing" for name in names if name not in saved]
    found += [f"{target} {shown(name)}: unexpected" for name in saved if name not in names]
    for name, arrays in names.items():
        own: list[str] = []
        if name in saved:
            _compare_arrays(saved[name], arrays, own)
        found += [f"{target} {shown(name)}: {difference}" for difference in own]


def _compare_params(saved: Mapping[str, Parameter], expected: Expected, found: list[str]) -> None:
    """Compare values; whether the state of a parameter is there has been compared already."""
    for name, kind in expected.params.items():
        if name not in saved:
            continue
        values, own_format = saved[name]
        what = f"{expected.target} {shown(name)}"
        if own_format != kind.format:
            found.append(f"{what}: expected dtype {kind.format}, got {own_format}")
        if values.shape != kind.shape:
            found.append(f"{what}: expected shape {kind.shape}, got {values.shape}")


def _compare_arrays(saved: object, expected: Mapping[str, Kind], found: list[str]) -> None:
    if not isinstance(saved, Mapping):
        found.append(f"expected a mapping of its state, got {type(saved).__name__}")
        return
    names = {"step", *expected}
    found += [f"state {shown(name)} missing" for name in sorted(names - set(saved), key=shown)]
    found += [f"state {shown(name)} unexpected" for name in sorted(set(saved) - names, key=shown)]
    if "step" in saved:
        _compare_counter("step", saved["step"], found)
    for name, kind in expected.items():
        if name not in saved:
            continue
        value = saved[name]
        if not isinstance(value, np.ndarray):
            wrong = f"expected an array, got {type(value).__name__}"
        elif value.dtype != kind.dtype:
            wrong = f"expected dtype {kind.dtype}, got {printable(str(value.dtype))}"
        elif value.shape != kind.shape:
            wrong = f"expected shape {kind.shape}, got {value.shape}"
        else:
            continue
        found.append(f"state {shown(name)}: {wrong}")


def _compare_groups(
    saved: object, groups: Sequence[Group], found: list[str]
) -> list[dict[str, Any]]:
    if not isinstance(saved, (list, tuple)):
        found.append(f"groups: expected a list, got {type(saved).__name__}")
        return []
    if len(saved) != len(groups):
        found.append(f"groups: expected {len(groups)}, got {len(saved)}")
        return []
    return [
        _compare_options(f"group {i}", options, group, found)
        for i, (options, group) in enumerate(zip(saved, groups, strict=True))
    ]


def _compare_options(what: str, saved: object, group: Group, found: list[str]) -> dict[str, Any]:
    if not isinstance(saved, Mapping):
        found.append(f"{what}: expected a mapping of options, got {type(saved).__name__}")
        return {}
    names = saved.get("params")
    named = isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names)
    if not (named and set(names) == set(group.params)):  # type: ignore[arg-type]
        expected = listed(group.params, shown)
        found.append(f"{what}: expected the parameters [{expected}], got {shown(names)}")
    changes: dict[str, Any] = {}
    for name in group:
        if name not in saved:
            found.append(f"{what}: option {shown(name)} missing")
        elif not (name == "lr" and group.has_schedule):
            changes[name] = saved[name]
    found += [
        f"{what}: option {shown(name)} unexpected"
        for name in saved
        if name != "params" and name not in group
    ]
    try:
        return group.check(changes)
    except (TypeError, ValueError) as error:
        found.append(f"{what}: {error}")
        return {}
