"""How an optimizer goes on from what a checkpoint holds: compared by name, and all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass, replace
from typing import Any

from fusedstep._engine import Engine
from fusedstep._errors import CheckpointError
from fusedstep._messages import shown
from fusedstep._snapshot import Expected, Snapshot
from fusedstep.checkpoint._content import HasStateDict, OptimizerContent, has_state_dict

__all__ = ["fitted", "loaded", "renamed", "schedules_of"]

NameMap = Mapping[str, str] | Callable[[str], str] | None


def schedules_of(engine: Engine) -> dict[str, HasStateDict]:
    """The learning rates that have a state of their own, by their place; also within others."""
    rates = enumerate(group["lr"] for group in engine.groups)
    return dict(part for i, lr in rates for part in _parts(f"groups.{i}.lr", lr))


def _parts(place: str, value: object) -> Iterator[tuple[str, HasStateDict]]:
    if has_state_dict(value):
        yield place, value
    if is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            yield from _parts(f"{place}.{part.name}", getattr(value, part.name))
    elif isinstance(value, (list, tuple)):
        for i, item in enumerate(value):
            yield from _parts(f"{place}.{i}", item)


def renamed(content: OptimizerContent, map_names: NameMap) -> OptimizerContent:
    """With other names of its parameters."""
    if map_names is None:
        return content
    if not (callable(map_names) or isinstance(map_names, Mapping)):
        raise TypeError(f"map_names: expected a mapping or a function, got {shown(map_names)}")
    snapshot = content.snapshot
    new: dict[str, str] = {}
    for name in snapshot.state:
        to = map_names(name) if callable(map_names) else map_names.get(name, name)
        if not isinstance(to, str):
            raise TypeError(f"map_names: expected a name for {shown(name)}, got {shown(to)}")
        new[name] = to
    if isinstance(map_names, Mapping) and (unknown := [n for n in map_names if n not in new]):
        raise CheckpointError(
            f"map_names: no parameter in the checkpoint is named {shown(unknown[0])}"
        )
    if len({*new.values()}) != len(new):
        twice = next(to for to in new.values() if [*new.values()].count(to) > 1)
        raise CheckpointError(
            f"map_names: expected one parameter for each name, got {shown(twice)} twice"
        )
    params = snapshot.params
    return replace(
        content,
        snapshot=replace(
            snapshot,
            state={new[name]: own for name, own in snapshot.state.items()},
            params=None if params is None else {new[name]: own for name, own in params.items()},
            groups=[{**g, "params": [new[name] for name in g["params"]]} for g in snapshot.groups],
        ),
        frozen=tuple(new[name] for name in content.frozen),
    )


def fitted(
    saved: Snapshot, live: Snapshot, expected: Expected
) -> tuple[Snapshot, list[str], list[str]]:
    """What `saved` and `expected` have in common, the rest as it is now; and what was left out.

    The names of the latter are those of parameters, or of one array of a parameter.
    """
    missing = [name for name in expected.state if name not in saved.state]
    unexpected = [name for name in saved.state if name not in expected.state]
    state: dict[str, Mapping[str, Any]] = {}
    for name, kinds in expected.state.items():
        own = saved.state.get(name)
        if own is None:
            state[name] = live.state[name]
            continue
        missing += [f"{name}.{array}" for array in kinds if array not in own]
        unexpected += [f"{name}.{array}" for array in own if array not in kinds and array != "step"]
        known = {array: own[array] for array in own if array in kinds or array == "step"}
        state[name] = {**live.state[name], **known}
    params = None
    if saved.params is not None and live.params is not None:
        params = {**live.params, **{n: p for n, p in saved.params.items() if n in live.params}}
    group_of = {name: group for group in saved.groups for name in group["params"]}
    groups = []
    for own_group in live.groups:
        names = own_group["params"]
        options = next((group_of[name] for name in names if name in group_of), own_group)
        groups.append({**options, "params": names})
    fit = replace(saved, state=state, params=params, groups=groups)
    return fit, missing, unexpected


@contextmanager
def loaded(parts: Mapping[str, tuple[HasStateDict, Any]]) -> Iterator[None]:
    """Load the states of all these objects for good, unless one, or the block, raises an error."""
    before: list[tuple[HasStateDict, Any]] = []
    try:
        for name, (part, state) in parts.items():
            before.append((part, part.state_dict()))
            try:
                part.load_state_dict(state)
            except (TypeError, ValueError) as error:
                raise CheckpointError(f"{name}: {error}") from error
        yield
    except BaseException:
        for part, state in reversed(before):
            part.load_state_dict(state)
        raise
