"""The view of an optimizer's state: ``opt.state``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from fusedstep._engine import Engine
from fusedstep._messages import listed
from fusedstep._slips import state_meant

__all__ = ["StateView"]


class _StateOfOne(dict[str, Any]):
    """The state of one parameter, which says what it has where something else is asked for."""

    def __missing__(self, name: object) -> Any:
        raise KeyError(f"no state is named {state_meant(name, self)}; there are {listed(self)}")


class StateView(Mapping[str, Mapping[str, Any]]):
    """The state by parameter name: ``step``, and the live arrays.

    The arrays may be written to, but not replaced.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __getitem__(self, name: object) -> Mapping[str, Any]:
        i = self._engine.number_of(name)
        return MappingProxyType(
            _StateOfOne(step=self._engine.core.steps_of(i), **self._engine.buffers[i])
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self._engine.tree.index)

    def __len__(self) -> int:
        return len(self._engine.tree.index)

    def __repr__(self) -> str:
        buffers = zip(self._engine.tree.names, self._engine.buffers, strict=True)
        return f"State({ {name: sorted(own) for name, own in buffers} })"
