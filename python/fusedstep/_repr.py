"""An optimizer as text, and as notebooks show it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar

from fusedstep import _core
from fusedstep._engine import Engine
from fusedstep._options import Option

__all__ = ["HasRepr", "card"]

_BYTES = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}


class HasRepr:
    """What an optimizer says of itself."""

    _engine: Engine
    options: ClassVar[Mapping[str, Option]]

    @property
    def state_bytes(self) -> int:
        """The bytes of all arrays that the optimizer holds: state, corrections and averages."""
        engine = self._engine
        kinds = [engine.space.kind_of(array) for own in engine.buffers for array in own.values()]
        return sum(math.prod(kind.shape) * kind.dtype.itemsize for kind in kinds)

    def __repr__(self) -> str:
        leaves, groups = self._engine.tree.leaves, self._engine.groups
        count = sum(math.prod(leaf.shape) for leaf in leaves)
        head = f"{type(self).__name__}({len(leaves)} arrays, {count:,} parameters"
        step = f"step {self._engine.core.step_count}"
        if len(groups) > 1:
            lines = "".join(f",\n  {group!r}" for group in groups)
            return f"{head}, {step}{lines})"
        options = ", ".join(f"{name}={value!r}" for name, value in groups[0].items())
        return f"{head}, {step}, {options})"

    def _repr_html_(self) -> str:
        engine, step = self._engine, self._engine.core.step_count
        tree, groups = engine.tree, engine.groups
        sizes = engine.space.formats("parameter", tree.names, tree.leaves)
        drawn = {id(group["lr"]): group._drawing() for group in groups}
        return card(
            type(self).__name__,
            step,
            [
                [sizes[i][1] for i, own in enumerate(tree.group_of) if own == k]
                for k in range(len(groups))
            ],
            [group._shown() for group in groups],
            {name: option.default for name, option in self.options.items()},
            parameter_bytes=sum(count * _BYTES[own_format] for own_format, count in sizes),
            state_bytes=self.state_bytes,
            drawing="".join(drawn.values()),
        )


def card(
    title: str,
    step: int,
    sizes: Sequence[Sequence[int]],
    options: Sequence[Mapping[str, object]],
    defaults: Mapping[str, object],
    *,
    parameter_bytes: int,
    state_bytes: int,
    drawing: str = "",
) -> str:
    """An optimizer in a notebook: the sizes of the arrays of each group, and its options."""
    from fusedstep import _html  # which most programs never need

    arrays = sum(map(len, sizes))
    facts = [
        f"{_counted(arrays, 'array')}, {sum(map(sum, sizes)):,} parameters ({_size(parameter_bytes)})",
        f"state {_size(state_bytes)}",
        f"step {step:,}",
        f"{_core.isa()}, {_counted(_core.thread_limit(), 'thread')}",
    ]
    rows: dict[str, list[object]] = {
        "arrays": [f"{len(own):,}" for own in sizes],
        "parameters": [f"{sum(own):,}" for own in sizes],
    }
    as_default = []
    for name, default in defaults.items():
        values = [own[name] for own in options]
        if name == "lr" or any(value != default for value in values):
            rows[name] = values
        else:
            as_default.append(f"{name}={default!r}")
    head = [f"group {k}" for k in range(len(sizes))] if len(sizes) > 1 else []
    note = f"by default: {', '.join(as_default)}"
    return _html.card(title, facts, head, rows, drawing, note)


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _size(count: float) -> str:
    """So many bytes, in the unit that is easily read."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"
