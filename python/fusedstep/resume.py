"""What outlives a process: loading a state_dict, where all is compared first, then copied."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fusedstep.groups import replace

if TYPE_CHECKING:
    from fusedstep.groups import Group
    from fusedstep.optimizer import Optimizer
    from fusedstep.spaces import Kind

__all__ = [
    "FORMAT",
    "HoldsMemory",
    "check_keys",
    "compare_counter",
    "compare_state",
    "differs",
    "load",
    "refuse",
]

FORMAT = 1  # of what state_dict() returns
_MAX_STEP = 2**63 - 1


class HoldsMemory:
    """What can be neither copied nor pickled: its arrays would still be, or no longer be, yours."""

    def __reduce_ex__(self, protocol: object) -> Any:  # also what copy and deepcopy ask
        name = type(self).__name__
        raise TypeError(
            f"{name}: it holds the memory of your arrays, and cannot be copied or pickled: copy or "
            f"pickle its state_dict(), and load that into a new {name}"
        )


def load(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Put `saved` into `optimizer`, or raise ValueError with every difference."""
    differences: list[str] = []
    check_keys(saved, ("format", "rule", "step_count", "groups", "state"))
    for name, expected in (("format", FORMAT), ("rule", optimizer.rule)):
        if differs(saved[name], expected):
            differences.append(f"{name}: expected {expected!r}, got {saved[name]!r}")
    compare_counter("step_count", saved["step_count"], differences)
    kind_of = optimizer._space.kind_of
    buffers = {
        name: {state: kind_of(array) for state, array in own.items()}
        for name, own in zip(optimizer.state, optimizer._buffers, strict=True)
    }
    compare_state(buffers, saved["state"], differences)
    options = _compare_groups(optimizer, saved["groups"], differences)
    for i, group in enumerate(optimizer.groups):
        if group.has_schedule and not differences:
            try:
                group.lr_at(int(saved["step_count"]))
            except (TypeError, ValueError) as error:
                differences.append(f"group {i}: {error}")
    refuse(type(optimizer).__name__, differences)

    state, step_count = saved["state"], int(saved["step_count"])
    restore = partial(
        optimizer._core.restore,
        step_count,
        [int(state[name]["step"]) for name in buffers],
        [state[name][buffer] for name, own in buffers.items() for buffer in own],
    )
    replace(optimizer.groups, options, restore, step_count)


def check_keys(saved: object, keys: tuple[str, ...]) -> None:
    """Raise TypeError or ValueError where `saved` is no mapping with these keys."""
    if not isinstance(saved, Mapping):
        raise TypeError(f"state_dict: expected a mapping, got {type(saved).__name__}")
    if missing := [key for key in keys if key not in saved]:
        raise ValueError(f"state_dict: missing keys: {', '.join(missing)}")


def differs(value: object, expected: object) -> bool:
    """Whether a saved value is not `expected`; an array never is."""
    return not (isinstance(value, (int, float, str, np.generic)) and value == expected)


def refuse(what: str, differences: list[str]) -> None:
    """Raise ValueError with every difference, where there are any."""
    if differences:
        lines = "".join(f"\n  {line}" for line in differences)
        raise ValueError(f"state_dict does not fit this {what}:{lines}")


def compare_counter(what: str, value: object, differences: list[str]) -> None:
    """Note down a counter that is none."""
    ok = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not (ok and 0 <= int(value) <= _MAX_STEP):  # type: ignore[call-overload]
        differences.append(f"{what}: expected an integer from 0 to 2**63 - 1, got {value!r}")


def compare_state(
    buffers: Mapping[str, Mapping[str, Kind]],
    saved: object,
    differences: list[str],
) -> None:
    """Note down where `saved` has not the parameters and arrays of `buffers`."""
    if not isinstance(saved, Mapping):
        differences.append(f"state: expected a mapping by parameter, got {type(saved).__name__}")
        return
    for name in buffers:
        if name not in saved:
            differences.append(f"parameter {name!r}: missing")
    for name in saved:
        if name not in buffers:
            differences.append(f"parameter {name!r}: unexpected")
    for name, own in buffers.items():
        if name in saved:
            _compare_buffers(name, own, saved[name], differences)


def _compare_buffers(
    name: str, buffers: Mapping[str, Kind], saved: object, differences: list[str]
) -> None:
    if not isinstance(saved, Mapping):
        differences.append(
            f"parameter {name!r}: expected a mapping of its state, got {type(saved).__name__}"
        )
        return
    expected = {"step", *buffers}
    for missing in sorted(expected - set(saved), key=str):
        differences.append(f"parameter {name!r}: state {missing!r} missing")
    for unexpected in sorted(set(saved) - expected, key=str):
        differences.append(f"parameter {name!r}: state {unexpected!r} unexpected")
    if "step" in saved:
        compare_counter(f"parameter {name!r}: step", saved["step"], differences)
    for state, buffer in buffers.items():
        if state not in saved:
            continue
        value = saved[state]
        what = f"parameter {name!r}: state {state!r}"
        if not isinstance(value, np.ndarray):
            differences.append(f"{what}: expected an array, got {type(value).__name__}")
        elif value.dtype != buffer.dtype:
            differences.append(f"{what}: expected dtype {buffer.dtype}, got {value.dtype}")
        elif value.shape != buffer.shape:
            differences.append(f"{what}: expected shape {buffer.shape}, got {value.shape}")


def _compare_groups(
    optimizer: Optimizer, saved: object, differences: list[str]
) -> list[dict[str, Any]]:
    """All options as they are to be, group by group."""
    if not isinstance(saved, (list, tuple)):
        differences.append(f"groups: expected a list, got {type(saved).__name__}")
        return []
    if len(saved) != len(optimizer.groups):
        differences.append(f"groups: expected {len(optimizer.groups)}, got {len(saved)}")
        return []
    return [
        _compare_options(f"group {i}", group, other, differences)
        for i, (group, other) in enumerate(zip(optimizer.groups, saved, strict=True))
    ]


def _compare_options(
    what: str, group: Group, saved: object, differences: list[str]
) -> dict[str, Any]:
    if not isinstance(saved, Mapping):
        differences.append(f"{what}: expected a mapping of options, got {type(saved).__name__}")
        return {}
    names = saved.get("params")
    if not isinstance(names, (list, tuple)) or set(map(str, names)) != set(group.params):
        differences.append(f"{what}: expected the parameters {list(group.params)}, got {names!r}")
    changes: dict[str, Any] = {}
    for name in group:
        if name not in saved:
            differences.append(f"{what}: option {name!r} missing")
        elif not (name == "lr" and group.has_schedule):
            changes[name] = saved[name]
    for name in saved:
        if name != "params" and name not in group:
            differences.append(f"{what}: option {name!r} unexpected")
    try:
        return group.check(changes)
    except (TypeError, ValueError) as error:
        differences.append(f"{what}: {error}")
        return {}
