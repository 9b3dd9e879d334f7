"""torch's tensors among what is written: autograd hears of it, as of its own optimizers' steps.

Without that, a second ``backward()`` over a graph from before the step would compute with the new
values and say nothing. torch is never imported here: where it is not, there are no tensors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from fusedstep._core import has_none

__all__ = ["Tensors", "note_written", "tensors_among", "torch_library"]


def tensors_among(arrays: Iterable[object]) -> list[Any]:
    """Those that are torch's."""
    torch = sys.modules.get("torch")
    if torch is None:
        return []
    return [array for array in arrays if isinstance(array, torch.Tensor)]


def torch_library() -> str:
    """The shared library whose OpenMP makes torch's backward passes; empty without torch."""
    torch = sys.modules.get("torch")
    file = getattr(torch, "__file__", None)
    return str(Path(file).parent / "lib" / "libtorch_cpu.so") if file else ""


def note_written(tensors: Sequence[Any]) -> None:
    """Tell autograd that torch tensors were written."""
    if tensors:
        _increment_version()(tensors)


@cache
def _increment_version() -> Callable[[Sequence[Any]], None]:
    graph = sys.modules["torch"].autograd.graph
    increment: Callable[[Any], None] | None = getattr(graph, "increment_version", None)
    if increment is None:  # torch before 2.1
        return lambda _: None
    try:
        increment([])
    except (TypeError, AttributeError):  # a torch whose function takes one tensor
        return partial(_one_by_one, increment)
    return increment


def _one_by_one(increment: Callable[[Any], None], tensors: Sequence[Any]) -> None:
    for tensor in tensors:
        increment(tensor)


class Tensors:
    """The torch tensors that an optimizer writes: parameters and working copies, by number."""

    def __init__(self) -> None:
        self._written: dict[int, list[Any]] = {}
        self._bound: list[int] | None = []  # None: all
        self._resting: set[int] = set()  # frozen
        self._moving: list[Any] | None = None  # all but the frozen, once they were asked for

    def __len__(self) -> int:
        return len(self._written)

    def add(self, number: int, arrays: Iterable[object]) -> None:
        """Take in what is torch's of what a step over a parameter writes."""
        if tensors := tensors_among(arrays):
            self._written[number] = tensors
            self._moving = None

    def rest(self, number: int, frozen: bool) -> None:
        """Remember whether a parameter is frozen."""
        (self._resting.add if frozen else self._resting.discard)(number)
        self._moving = None

    def bind(self, grads: Sequence[object]) -> None:
        """Remember which parameters have a bound gradient."""
        self._bound = self._with_gradient(grads)

    def after_step(self, outcome: Any, grads: Sequence[object] | None) -> None:
        """Note what a step has written; `grads` are None where the bound ones were used."""
        self.note(outcome, self._bound if grads is None else self._with_gradient(grads))

    def note(self, outcome: Any, numbers: Iterable[int] | None) -> None:
        """Note that a step over these parameters, or all, has written those that are not frozen."""
        if outcome is not None and outcome[0] is False:
            return  # skipped; on a CUDA device that is an array, which nobody waits for
        if numbers is not None:
            note_written(self._of(numbers))
            return
        if self._moving is None:
            self._moving = self._of(self._written)
        note_written(self._moving)

    def _of(self, numbers: Iterable[int]) -> list[Any]:
        moved = [number for number in numbers if number not in self._resting]
        return [tensor for number in moved for tensor in self._written.get(number, ())]

    def _with_gradient(self, grads: Sequence[object]) -> list[int] | None:
        if not has_none(grads):
            return None
        return [number for number in self._written if grads[number] is not None]
