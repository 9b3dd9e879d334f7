"""The state of an optimizer as users see it: ``opt.state``, and the numbers in narrow arrays."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from numpy.typing import NDArray

from fusedstep import _formats
from fusedstep._engine import Engine, HoldsEngine
from fusedstep._messages import listed
from fusedstep._slips import state_meant

__all__ = ["HasState", "StateView", "decoded_parameter"]


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


def decoded_parameter(engine: Engine, i: int) -> NDArray[Any]:
    """A copy of a parameter as the numbers that it holds together with its correction."""
    space, name, leaf = engine.space, engine.tree.names[i], engine.tree.leaves[i]
    ((own_format, _),) = space.formats("parameter", [name], [leaf])
    if not _formats.is_narrow(own_format):
        values: NDArray[Any] = space.to_numpy(leaf).copy(order="K")
        return values
    return space.decoded(
        leaf,
        own_format,
        correction=_formats.correction_of(engine.buffers[i]),
        rounding=_formats.rounding_of(engine.groups[engine.tree.group_of[i]]),
    )


class HasState(HoldsEngine):
    """What an optimizer shows of its state."""

    _engine: Engine

    @property
    def state(self) -> Mapping[str, Mapping[str, Any]]:
        """State by parameter name: ``state["w"]["exp_avg"]`` is the live array.

        It is a NumPy view, or an array of the parameter's library on a CUDA device. To change it,
        write into it: ``state["w"]["exp_avg"][...] = 0``. With `state_dtype`, it has the bits of
        bfloat16 (uint16), or 8-bit codes (uint8) and beside them ``exp_avg_scale``: one float32 for
        each 128 elements in the order of memory.
        """
        return StateView(self._engine)

    @property
    def state_bytes(self) -> int:
        """The bytes of all arrays that the optimizer holds: state, corrections and averages."""
        engine = self._engine
        kinds = [engine.space.kind_of(array) for own in engine.buffers for array in own.values()]
        return sum(math.prod(kind.shape) * kind.dtype.itemsize for kind in kinds)

    def decoded_state(self, name: str) -> dict[str, NDArray[Any]]:
        """The state arrays of a parameter as the numbers that they hold: NumPy copies."""
        engine, i = self._engine, self._engine.number_of(name)
        space, own, result = engine.space, engine.buffers[i], {}
        for state, content in engine.groups[engine.tree.group_of[i]].contents.items():
            layout = _formats.layout_of(space.kind_of(own[state]).dtype.name, content)
            if layout == "native":
                result[state] = space.to_numpy(own[state]).copy(order="K")
            else:
                scales = _formats.scales_of(own, state)
                result[state] = space.decoded(own[state], layout, scales=scales)
        return result

    def master(self, name: str) -> NDArray[Any]:
        """A parameter as the numbers that it holds together with its correction: a NumPy copy.

        float32, or float64 of a float64 parameter. RuntimeError while the parameters hold others.
        """
        if why := self._engine.core.swapped():
            raise RuntimeError(f"cannot read master() {why}")
        return decoded_parameter(self._engine, self._engine.number_of(name))
