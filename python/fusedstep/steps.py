"""The step, in its forms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fusedstep.options import Number, Switch
from fusedstep.pipeline import StepResult

if TYPE_CHECKING:
    from fusedstep import _core
    from fusedstep.groups import Group
    from fusedstep.params import Structure
    from fusedstep.spaces import Space
    from fusedstep.tensors import Tensors

__all__ = ["Steps"]

_APPLIED = StepResult(applied=True, grad_norm=None)


def _result(outcome: tuple[bool, float] | None) -> StepResult:
    """What the core says of a step; None where there is nothing to say."""
    return _APPLIED if outcome is None else StepResult(*outcome)


class Steps:
    """What an optimizer does with gradients."""

    _core: _core.Stepper
    _space: Space
    _structure: Structure
    _index: dict[str, int]
    _groups: list[Group]
    _pause: str  # where no step may be made, and why; empty where one may
    _tensors: Tensors | None  # those of torch, where there are any

    def _begin(self) -> None:
        """What precedes every step: refuse it where it may not be, and follow the schedules."""
        if self._pause:
            raise RuntimeError(f"step() is not possible {self._pause}")
        for group in self._groups:
            if group.has_schedule:
                group.push()

    def _end(
        self, outcome: tuple[bool, float] | None, grads: Sequence[object] | None
    ) -> StepResult:
        """What follows every step over these gradients, or the bound ones."""
        if self._tensors is not None:
            self._tensors.after_step(outcome, grads)
        return _APPLIED if outcome is None else StepResult(*outcome)

    @contextmanager
    def _swapped(self) -> Iterator[None]:
        """Refuse steps meanwhile: the parameters are not themselves."""
        inside = "inside ema.swapped_in(): the parameters are the averages there"
        if self._pause == inside:
            raise RuntimeError("swapped_in() blocks cannot be nested")
        if self._pause:
            raise RuntimeError(f"swapped_in() is not possible {self._pause}")
        self._pause = inside
        try:
            yield
        finally:
            self._pause = ""

    def step(
        self, grads: object = None, *, grad_scale: float = 1.0, zero_grads: bool = False
    ) -> StepResult:
        """Update every parameter that has a gradient, in one sweep over memory.

        Parameters
        ----------
        grads
            Gradients in the structure of the parameters (a generator for a list), or a mapping from
            parameter names; of the parameters' dtypes, shapes and memory order. Where one is None
            or missing, parameter, state and counter stay untouched; a gradient of zeros still moves
            them. They are read, never written. Without `grads`, those of :meth:`bind` are used.
        grad_scale
            Gradients are divided by it first (loss scaling, or the number of accumulated batches).
            On a CUDA device also an array of one float32 or float64 there, which is not waited for.
        zero_grads
            Set the gradients to zero in the same sweep. They must be writeable then, and must not
            share memory. A step that is not applied zeroes nothing.

        Returns
        -------
        StepResult
            ``applied``, and ``grad_norm`` where somebody asked for it; on a CUDA device both are
            arrays there in that case, which nobody has waited for.

        Raises
        ------
        TypeError, ValueError
            A gradient does not fit its parameter, or overlaps memory that the step writes.
        FloatingPointError
            A gradient holds NaN or infinity, with ``error_if_nonfinite``.
        RuntimeError
            Neither `grads` nor bound gradients, or another call uses the optimizer.
        OverflowError
            A step counter is at 2**63 - 1.

        Notes
        -----
        All or nothing: every check comes before the first write. Without ``skip_nonfinite``, NaN
        and infinity in a gradient are numbers like others: they reach the elements at their
        position, and no other; only the norm carries them everywhere.

        A step over some of the parameters is a step of those alone, with their own counters, as
        gradients become ready in a backward pass (while they are still in cache). The norm is then
        that of these gradients, and ``step_count``, which schedules follow, counts each call.
        """
        self._begin()
        flat = None if grads is None else self._structure.flatten(grads)
        # Of an array on a device no `==` is asked: it would wait.
        if type(grad_scale) is float and grad_scale == 1.0 and zero_grads is False:
            return self._end(self._core.step(flat), flat)
        scale, zero = (
            self._space.check_grad_scale(grad_scale),
            Switch().check("zero_grads", zero_grads),
        )
        return self._end(self._core.step(flat, scale, zero), flat)

    def bind(self, grads: object) -> None:
        """Check `grads` once and use them for every :meth:`step` without arguments.

        The arrays are kept and read anew at each step: write the next gradients into them. Another
        array in their place, as a new entry of a dict or a new ``p.grad`` of torch, is not seen:
        there use ``zero_grad(set_to_none=False)``, or :meth:`step` with gradients.
        ``bind(None)`` releases them.
        """
        flat = None if grads is None else self._structure.flatten(grads)
        self._core.bind(flat)
        if self._tensors is not None and flat is not None:
            self._tensors.bind(flat)

    def step_mean(
        self,
        grad_sets: Iterable[object],
        weights: Iterable[float] | None = None,
        *,
        grad_scale: float = 1.0,
        zero_grads: bool = False,
    ) -> StepResult:
        """Average several gradient sets and apply the mean, in the one sweep.

        Parameters
        ----------
        grad_sets
            At least one set of gradients, each as for :meth:`step`. A parameter that has a
            gradient in one set must have one in all.
        weights
            One finite number >= 0 a set, not all 0; all 1 by default. The gradient is
            ``(w[0] * g[0] + w[1] * g[1] + ...) / sum(w)``, added in the order given, in the
            parameter's dtype.
        grad_scale, zero_grads
            As for :meth:`step`; all sets are zeroed.
        """
        sets, numbers = self._gradient_sets(grad_sets, weights)
        total = sum(numbers)
        if total == 0.0 or not math.isfinite(total):
            raise ValueError(f"weights: expected a finite sum > 0, got {total}")
        return self._step_combined(sets, numbers, total, grad_scale, zero_grads)

    def step_sum(
        self,
        grad_sets: Iterable[object],
        weights: Iterable[float] | None = None,
        *,
        grad_scale: float = 1.0,
        zero_grads: bool = False,
    ) -> StepResult:
        """Add several gradient sets and apply the sum: :meth:`step_mean` without the division."""
        sets, numbers = self._gradient_sets(grad_sets, weights)
        return self._step_combined(sets, numbers, 1.0, grad_scale, zero_grads)

    def _step_combined(
        self, sets: list[Any], weights: list[float], divisor: float, scale: float, zero: bool
    ) -> StepResult:
        scale, zero = self._space.check_grad_scale(scale), Switch().check("zero_grads", zero)
        self._begin()
        outcome = self._core.step_combined(sets, weights, divisor, scale, zero)
        return self._end(outcome, sets[0])  # all have gradients of the same parameters

    def step_rows(
        self, name: str, indices: object, rows: object, *, grad_scale: float = 1.0
    ) -> StepResult:
        """Update some rows of one parameter, from the gradients of these rows alone.

        Parameters
        ----------
        name
            The parameter: an array of rows (its first axis) in C order.
        indices
            Which rows: a one-dimensional int32 or int64 array (on the CPU also a list), in any
            order. Where a row comes several times, its gradients are added first, in the order
            given. On a CUDA device a NumPy array, or one there, which the step waits for.
        rows
            One gradient a named row: shape ``(len(indices), *param.shape[1:])``.
        grad_scale
            As for :meth:`step`.

        Notes
        -----
        Lazy: only these rows of parameter, state and average move, and the parameter's counter by
        one. ``step_count``, and with it schedules, does not: that is :meth:`step`'s. For rules with
        state this is not what a dense gradient with zeros would do (lazy Adam is not dense Adam: a
        row's moments do not decay while it is not named). The norm is that of the added rows.
        No index, or a frozen parameter: nothing happens.

        Raises
        ------
        IndexError
            An index is negative, or not below the number of rows.
        """
        if name not in self._index:
            raise ValueError(f"name: expected one of {', '.join(self._index)}, got {name!r}")
        self._begin()
        scale = self._space.check_grad_scale(grad_scale)
        number = self._index[name]
        outcome = self._core.step_rows(number, indices, rows, scale)
        if self._tensors is not None:
            self._tensors.note(outcome, [number])
        return _result(outcome)

    def freeze(self, *names: str) -> None:
        """Leave these parameters, their state and counters untouched, whatever gradients come.

        They do not count in the norm. All of them: ``opt.freeze(*opt.params)``.

        Raises
        ------
        TypeError, ValueError
            No name, or one that no parameter has; then nothing has changed.
        """
        self._set_frozen("freeze", names, True)

    def unfreeze(self, *names: str) -> None:
        """Let these parameters move again; errors as of :meth:`freeze`."""
        self._set_frozen("unfreeze", names, False)

    def _set_frozen(self, verb: str, names: tuple[str, ...], frozen: bool) -> None:
        if not names:  # as of an empty selection, which must not mean all
            raise ValueError(
                f"{verb}: expected at least one name, got none (of all: opt.{verb}(*opt.params))"
            )
        for name in names:
            if not isinstance(name, str):
                raise TypeError(
                    f"{verb}: expected names (str), got {name!r} (of a list: opt.{verb}(*names))"
                )
        if unknown := [name for name in names if name not in self._index]:
            raise ValueError(
                f"{verb}: expected names of parameters ({', '.join(self._index)}), "
                f"got {', '.join(map(repr, unknown))}"
            )
        for name in names:
            self._core.freeze(self._index[name], frozen)
            if self._tensors is not None:
                self._tensors.rest(self._index[name], frozen)

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the frozen parameters."""
        return frozenset(name for name, i in self._index.items() if self._core.is_frozen(i))

    def _gradient_sets(
        self, grad_sets: Iterable[object], weights: Iterable[float] | None
    ) -> tuple[list[Any], list[float]]:
        """Flatten the sets and check the weights."""
        if isinstance(grad_sets, Mapping):
            raise TypeError("grad_sets: expected a list of gradient sets, got one mapping")
        sets = [
            self._structure.flatten(grads, f"grad_sets[{k}]") for k, grads in enumerate(grad_sets)
        ]
        if not sets:
            raise ValueError("grad_sets: expected at least one set, got none")
        given = [1.0] * len(sets) if weights is None else list(weights)
        if len(given) != len(sets):
            raise ValueError(f"weights: expected {len(sets)}, one a gradient set, got {len(given)}")
        return sets, [Number().check(f"weights[{i}]", weight) for i, weight in enumerate(given)]
