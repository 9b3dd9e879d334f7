"""A saved state as a dict of one level, which np.savez stores without pickle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fusedstep._group import Group
from fusedstep._messages import shown

__all__ = ["flattened", "is_flat", "nested"]


def flattened(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """With the paths to its values as keys, joined by dots; without values that are None."""
    flat = {key: state_dict[key] for key in ("format", "rule", "step_count")}
    for i, group in enumerate(state_dict["groups"]):
        for name, value in group.items():
            if value is not None:
                own = np.array(value) if isinstance(value, (list, tuple)) else value
                flat[f"groups.{i}.{name}"] = own
    for name, arrays in state_dict["state"].items():
        flat |= {f"state.{name}.{key}": value for key, value in arrays.items()}
    return flat


def is_flat(state_dict: object) -> bool:
    """Whether this is meant as one."""
    return isinstance(state_dict, Mapping) and "groups.0.params" in state_dict


def nested(flat: Mapping[str, Any], groups: Sequence[Group]) -> dict[str, Any]:
    """The inverse of :func:`flattened`, for an optimizer with these groups."""
    result: dict[str, Any] = {"groups": [], "state": {}}
    found: dict[str, dict[str, Any]] = {}
    for key in flat:
        value = flat[key]
        kind, _, rest = key.partition(".")
        if kind == "state":
            name, _, own = rest.rpartition(".")
            result["state"].setdefault(name, {})[own] = _number(value) if own == "step" else value
        elif kind == "groups":
            number, _, name = rest.partition(".")
            found.setdefault(number, {})[name] = _number(value)
        else:
            result[key] = _number(value)
    for i, number in enumerate(sorted(found, key=_place)):
        # What is None is not in it.
        absent = dict.fromkeys(groups[i]) if i < len(groups) else {}
        result["groups"].append(absent | found[number])
    return result


def _number(value: Any) -> Any:
    """An array of npz as the number, string or list that it was."""
    return value.tolist() if isinstance(value, (np.ndarray, np.generic)) else value


def _place(number: str) -> int:
    """The place of a group: other formats sort their keys as text."""
    if not (number.isascii() and number.isdigit()):
        raise ValueError(f"groups: expected keys like 'groups.0.lr', got a group {shown(number)}")
    return int(number)
