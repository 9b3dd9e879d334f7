"""What a checkpoint says, as a document and arrays: of an optimizer, of data, and of the user's own."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeGuard, TypeVar

import numpy as np
from numpy.typing import NDArray

from fusedstep._checks import is_integer
from fusedstep._core import __version__
from fusedstep._errors import CheckpointDamagedError, CheckpointError
from fusedstep._formats import scales_name
from fusedstep._messages import printable, shown
from fusedstep._snapshot import Parameter, Snapshot
from fusedstep.checkpoint._layout import Held

__all__ = [
    "FORMAT",
    "Content",
    "HasStateDict",
    "OptimizerContent",
    "Savable",
    "decode",
    "encode",
    "has_state_dict",
]

FORMAT = 1  # of the document
_ARRAY = "__array__"  # the key of what stands for an array
_FORMATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_CODES = {own_format: code for code, own_format in _FORMATS.items()}

T = TypeVar("T")


@dataclass(frozen=True)
class OptimizerContent:
    """All of an optimizer that decides its next steps, but its schedules themselves."""

    snapshot: Snapshot
    policy: Mapping[str, Any]
    """The options of the whole optimizer, among them the seed."""
    frozen: tuple[str, ...]
    schedules: Mapping[str, Any]
    """The states of those schedules that have one, by their place."""

    def with_params(self, wanted: bool) -> OptimizerContent:
        """Without the parameters; or with them, or CheckpointError where there are none."""
        if wanted and self.snapshot.params is None:
            raise CheckpointError("include_params: expected parameters in the checkpoint, got none")
        return self if wanted else replace(self, snapshot=replace(self.snapshot, params=None))


@dataclass(frozen=True)
class Content:
    """What a checkpoint holds."""

    optimizer: OptimizerContent
    data: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


class HasStateDict(Protocol):
    """What can be saved beside an optimizer, such as :class:`fusedstep.data.MiniBatches`."""

    def state_dict(self) -> Mapping[str, Any]:
        """Numbers, strings and arrays, nested in mappings and lists."""

    def load_state_dict(self, state: Any) -> object:
        """Go on from them."""


def has_state_dict(value: object) -> TypeGuard[HasStateDict]:
    """Whether this can be saved; also what has its attributes from another object."""
    return hasattr(value, "state_dict") and hasattr(value, "load_state_dict")


class Savable(Protocol):
    """An optimizer."""

    def _hold(self, read: Callable[[OptimizerContent], T], *, include_params: bool) -> T:
        """What `read` makes of its arrays themselves, while nobody steps."""

    def _resume(
        self,
        content: OptimizerContent,
        parts: Mapping[str, tuple[HasStateDict, Any]],
        *,
        strict: bool,
        map_names: Mapping[str, str] | Callable[[str], str] | None,
    ) -> tuple[list[str], list[str]]:
        """Load it, and the states of other parts: all or nothing."""


def encode(content: Content) -> tuple[str, dict[str, Held]]:
    """A document, and the arrays that it refers to."""
    optimizer = content.optimizer
    snapshot, arrays, axes = optimizer.snapshot, {}, {}
    for name, own in snapshot.state.items():
        for key, value in own.items():
            if key == "step":
                continue
            what = f"state.{name}.{key}"
            if scales_name(key) in own and not value.flags.c_contiguous:
                # Scales are those of blocks in memory, whose order is kept.
                axes[what] = sorted(range(value.ndim), key=lambda i: -value.strides[i])
                value = value.transpose(axes[what])
            arrays[what] = _held(what, value)
    for name, (values, own_format) in (snapshot.params or {}).items():
        arrays[f"param.{name}"] = Held(values, _CODES[own_format])
    document: dict[str, Any] = {
        "format": FORMAT,
        "version": __version__,
        "optimizer": {
            "format": snapshot.format,
            "rule": snapshot.rule,
            "step_count": snapshot.step_count,
            "groups": _tree("groups", list(snapshot.groups), arrays),
            "steps": {name: own["step"] for name, own in snapshot.state.items()},
            "policy": dict(optimizer.policy),
            "frozen": list(optimizer.frozen),
            "schedules": _tree("schedules", optimizer.schedules, arrays),
            "axes": axes,
            "has_params": snapshot.params is not None,
        },
    }
    for what, value in {"data": content.data, "extra": content.extra}.items():
        try:
            document[what] = _tree(what, value, arrays)
        except RecursionError:
            raise ValueError(f"{what}: expected less deep nesting") from None
    for name in arrays:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise ValueError(f"{shown(name)}: expected a name that UTF-8 can hold") from None
    return json.dumps(document), arrays


def _held(what: str, value: NDArray[Any]) -> Held:
    held = Held.of(value)
    if held is None:
        raise TypeError(
            f"{what}: expected an array of numbers that a checkpoint can hold, got {shown(value)}"
        )
    return held


def _tree(what: str, value: object, arrays: dict[str, Held]) -> Any:
    """A nested value for JSON; arrays in it are added to `arrays`, under the path to them."""
    if isinstance(value, np.ndarray):
        if what in arrays:
            raise ValueError(
                f"{what}: expected names that differ also once they are joined by dots"
            )
        arrays[what] = _held(what, value)
        return {_ARRAY: what}
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, float, str)) or is_integer(value):
        return value
    if isinstance(value, (list, tuple)):
        return [_tree(f"{what}.{i}", item, arrays) for i, item in enumerate(value)]
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str) or key == _ARRAY]:
            raise TypeError(f"{what}: expected strings as keys, got {shown(wrong[0])}")
        return {
            key: _tree(f"{what}.{key}" if key else what, item, arrays)
            for key, item in value.items()
        }
    raise TypeError(
        f"{what}: expected numbers, strings, NumPy arrays, and lists and mappings of them, got "
        f"{shown(value)}"
    )


def decode(document: str, arrays: Mapping[str, Held]) -> Content:
    """The inverse of :func:`encode`; CheckpointError for what it cannot have written."""
    try:
        found = json.loads(document)
        version = _entries("document", found, {"format": int, "version": str})
        if version["format"] > FORMAT:
            raise CheckpointError(
                f"format: expected at most {FORMAT}, got {shown(found['format'])}: it was saved by "
                f"fusedstep {printable(found['version'])}, this is {__version__}: a newer version is "
                "needed to load it"
            )
        return _content(found, arrays)
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, RecursionError) as error:
        what = printable(f"document: {type(error).__name__}: {error}", 300)
        raise CheckpointDamagedError(what) from None


_PARTS = {"optimizer": dict, "extra": dict}
_OPTIMIZER = {
    "format": int,
    "rule": str,
    "step_count": int,
    "groups": list,
    "steps": dict,
    "policy": dict,
    "frozen": list,
    "schedules": dict,
    "axes": dict,
    "has_params": bool,
}


def _entries(where: str, found: object, kinds: Mapping[str, type]) -> Mapping[str, Any]:
    """A mapping, or CheckpointDamagedError where it has not all of these entries."""
    if not isinstance(found, dict):
        raise CheckpointDamagedError(f"{where}: expected an object, got {shown(found)}")
    for name, kind in kinds.items():
        if type(found.get(name)) is not kind:
            raise CheckpointDamagedError(
                f"{where}: {name}: expected {kind.__name__}, got {shown(found.get(name))}"
            )
    return found


def _content(found: Mapping[str, Any], arrays: Mapping[str, Held]) -> Content:
    _entries("document", found, _PARTS)
    optimizer = _entries("document: optimizer", found["optimizer"], _OPTIMIZER)
    for i, group in enumerate(optimizer["groups"]):
        _entries(f"document: groups.{i}", group, {"params": list})
    state: dict[str, dict[str, Any]] = {
        name: {"step": step} for name, step in optimizer["steps"].items()
    }
    params: dict[str, Parameter] = {}
    axes = optimizer["axes"]
    for key, (array, code) in arrays.items():
        kind, _, rest = key.partition(".")
        if kind == "param":
            params[rest] = Parameter(array.view("u2") if code == "F16" else array, _FORMATS[code])
        elif kind == "state":
            name, _, own = rest.rpartition(".")
            state[name][own] = _transposed(array, axes[key]) if key in axes else array
    named = {
        "groups": [name for group in optimizer["groups"] for name in group["params"]],
        "frozen": [*state, *optimizer["frozen"]],
        "parameters": [*params] if optimizer["has_params"] else [*state],
    }
    for where, names in named.items():
        if {*names} != {*state}:
            raise CheckpointDamagedError(
                f"document: {where}: expected the names {shown([*state])}, got {shown(names)}"
            )
    snapshot = Snapshot(
        rule=optimizer["rule"],
        step_count=optimizer["step_count"],
        groups=optimizer["groups"],
        state=state,
        format=optimizer["format"],
        params=params if optimizer["has_params"] else None,
    )
    return Content(
        OptimizerContent(
            snapshot,
            optimizer["policy"],
            tuple(optimizer["frozen"]),
            _untree(optimizer["schedules"], arrays),
        ),
        _untree(found["data"], arrays),
        _untree(found["extra"], arrays),
    )


def _transposed(array: NDArray[Any], order: list[int]) -> NDArray[Any]:
    """The array whose axes are in this order in the one given."""
    if sorted(order) != [*range(array.ndim)]:
        raise ValueError(f"axes: expected each of {array.ndim}, got {shown(order)}")
    return np.transpose(array, [order.index(i) for i in range(array.ndim)])


def _untree(value: Any, arrays: Mapping[str, Held]) -> Any:
    """The inverse of :func:`_tree`: with views of the arrays."""
    if isinstance(value, list):
        return [_untree(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if _ARRAY in value:
        return arrays[value[_ARRAY]].numbers()
    return {key: _untree(item, arrays) for key, item in value.items()}
