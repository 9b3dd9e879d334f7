"""Reports to torch's autograd which tensors were written, as torch's own optimizers do.

Otherwise a second ``backward()`` over a graph from before the step would silently compute with the
new values. torch is never imported here: unless the caller has, there are no tensors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from functools import cache, partial
from typing import Any

from fusedstep._core import has_none
from fusedstep._imported import imported
from fusedstep._messages import shown

__all__ = ["NOTHING_BOUND", "BoundGradients", "WrittenTensors", "note_written", "tensors_among"]


def tensors_among(arrays: Iterable[object]) -> list[Any]:
    """The torch tensors among these arrays."""
    tensor = imported("torch", "Tensor")
    return [array for array in arrays if isinstance(array, tensor)]


def note_written(tensors: Sequence[Any]) -> None:
    """Increment the version counters of torch tensors that were written."""
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
    except (TypeError, AttributeError):  # a torch version whose function takes one tensor
        return partial(_one_by_one, increment)
    return increment


def _one_by_one(increment: Callable[[Any], None], tensors: Sequence[Any]) -> None:
    for tensor in tensors:
        increment(tensor)


class BoundGradients:
    """Gradients that are used by every step: arrays, or what ``p.grad`` of torch is at each step.

    Parameters
    ----------
    names, params
        The parameters.
    arrays
        An array for each parameter, or None: all of them gradients, or all of them the parameters
        themselves, whose ``grad`` is meant.
    """

    def __init__(self, names: Sequence[str], params: Sequence[Any], arrays: Sequence[Any]) -> None:
        self.arrays = arrays
        whole = len(arrays) == len(params)  # else the core refuses them
        triples = zip(names, params, arrays, strict=True) if whole else ()
        given = [(n, p, a) for n, p, a in triples if a is not None]
        self.of_parameters: bool = bool(given) and all(
            p is a and hasattr(a, "grad") for _, p, a in given
        )
        self._grads = [(n, p, a) for n, p, a in given if getattr(p, "grad", None) is a]
        self.may_change: bool = self.of_parameters or bool(self._grads)

    def present(self) -> Sequence[Any] | None:
        """The gradients of the next step; None where they are the arrays that were bound.

        Raises
        ------
        RuntimeError
            A bound array was a parameter's ``grad``, which is now another one.
        """
        if self.of_parameters:
            return [None if param is None else param.grad for param in self.arrays]
        for name, param, array in self._grads:
            if param.grad is not array:
                now = "None" if param.grad is None else "another tensor"
                raise RuntimeError(
                    f"gradient of {shown(name)}: expected the bound tensor as the parameter's grad, "
                    f"got {now}: bind the parameters themselves, opt.bind(params), or use "
                    "zero_grad(set_to_none=False)"
                )
        return None


NOTHING_BOUND = BoundGradients((), (), ())


class WrittenTensors:
    """The torch tensors that steps write, by parameter: parameters and working copies."""

    def __init__(self) -> None:
        self._written: dict[int, list[Any]] = {}
        self._bound: list[int] | None = []  # the parameters with a bound gradient; None: all
        self._copies: list[Any] = []  # the working copies
        self._frozen: set[int] = set()
        self._not_frozen: list[Any] | None = None  # cached tensors of the others

    def __len__(self) -> int:
        return len(self._written)

    def add(self, number: int, param: object, copy: object) -> None:
        """Remember a parameter and its working copy, or None, where they are torch tensors."""
        if tensors := tensors_among([param, copy]):
            self._written[number] = tensors
            self._copies += tensors_among([copy])
            self._not_frozen = None

    def copy(self) -> WrittenTensors:
        """A copy, to be changed before it takes the place of this one."""
        other = WrittenTensors()
        other._written, other._bound = {**self._written}, self._bound
        other._copies, other._frozen = [*self._copies], {*self._frozen}
        return other

    def freeze(self, numbers: Iterable[int], frozen: bool) -> None:
        """Remember whether these parameters are frozen."""
        (self._frozen.update if frozen else self._frozen.difference_update)(numbers)
        self._not_frozen = None

    def note_copies(self) -> None:
        """Note that the working copies are written."""
        note_written(self._copies)

    def bind(self, grads: Sequence[object]) -> None:
        """Remember which parameters have a bound gradient."""
        self._bound = self._with_gradient(grads)

    def after_step(self, result: Any, grads: Sequence[object] | None) -> None:
        """Note what a step has written; `grads` is None where it used the bound gradients."""
        self.note(result, self._bound if grads is None else self._with_gradient(grads))

    def note(self, result: Any, numbers: Iterable[int] | None) -> None:
        """Note that a step has written these parameters (None: all) except the frozen ones."""
        if result is not None and result[0] is False:
            return  # skipped (on a CUDA device an array, which is not waited for)
        if numbers is not None:
            note_written(self._of(numbers))
            return
        if self._not_frozen is None:
            self._not_frozen = self._of(self._written)
        note_written(self._not_frozen)

    def _of(self, numbers: Iterable[int]) -> list[Any]:
        return [
            tensor
            for number in numbers
            if number not in self._frozen
            for tensor in self._written.get(number, ())
        ]

    def _with_gradient(self, grads: Sequence[object]) -> list[int] | None:
        if not has_none(grads):
            return None
        return [number for number in self._written if grads[number] is not None]
