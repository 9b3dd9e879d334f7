"""Steps: from the gradients that a user has to a call of the compiled core."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, cast

from fusedstep._autograd import NOTHING_BOUND, BoundGradients, note_written, tensors_among
from fusedstep._engine import Engine
from fusedstep._messages import shown
from fusedstep._options import Number, Switch
from fusedstep._pipeline import StepResult

__all__ = ["Bound", "Steps"]

_APPLIED = StepResult(applied=True, grad_norm=None)


class Bound(Enum):
    """The default of `grads`: that None is passed by mistake must not mean the bound gradients."""

    GRADIENTS = "the bound gradients"

    def __repr__(self) -> str:
        return f"<{self.value}>"


_BOUND = Bound.GRADIENTS  # a global is found in a third of the time of an Enum's member


class Steps:
    """The steps of an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def step(
        self, grads: object, grad_scale: Any, zero_grads: bool, allow_empty: bool
    ) -> StepResult:
        """Step with gradients in the structure of the tree, or the bound ones."""
        engine = self._engine
        engine.begin()
        if grads is not _BOUND:
            flat = engine.tree.flatten(grads)
            if engine.tensors is not None:
                flat = tuple(flat)  # the caller's list may have changed when the step is done
        else:
            flat = engine.bound.present() if engine.bound.may_change else None
        # An array on a device is not compared with 1.0: that would wait for the device.
        if (
            type(grad_scale) is float
            and grad_scale == 1.0
            and zero_grads is False
            and allow_empty is False
        ):
            result = engine.core.step(flat)
        else:
            scale = engine.space.check_grad_scale(grad_scale)
            zero = Switch().check("zero_grads", zero_grads)
            empty = Switch().check("allow_empty", allow_empty)
            if empty and flat is not None and all(grad is None for grad in flat):
                result = engine.core.step_together(flat, [], scale)
            else:
                result = engine.core.step(flat, scale, zero)
            if zero:
                self._note_zeroed(result, [engine.bound.arrays if flat is None else flat])
        if engine.tensors is not None:
            engine.tensors.after_step(result, flat)
        return _APPLIED if result is None else StepResult(*result)

    def step_combined(
        self,
        grad_sets: Iterable[object],
        weights: Iterable[float] | None,
        grad_scale: Any,
        zero_grads: bool,
        allow_empty: bool,
        *,
        mean: bool,
    ) -> StepResult:
        """Step with the weighted sum, or mean, of several gradient sets."""
        engine = self._engine
        sets, numbers = self._gradient_sets(grad_sets, weights)
        divisor = sum(numbers) if mean else 1.0
        if divisor == 0.0 or not math.isfinite(divisor):
            raise ValueError(f"weights: expected a finite sum > 0, got {divisor}")
        scale = engine.space.check_grad_scale(grad_scale)
        zero = Switch().check("zero_grads", zero_grads)
        empty = Switch().check("allow_empty", allow_empty)
        engine.begin()
        result = engine.core.step_combined(sets, numbers, divisor, scale, zero, empty)
        if zero:
            self._note_zeroed(result, sets)
        if engine.tensors is not None:
            engine.tensors.after_step(result, sets[0])  # all sets cover the same parameters
        return _APPLIED if result is None else StepResult(*result)

    def _gradient_sets(
        self, grad_sets: Iterable[object], weights: Iterable[float] | None
    ) -> tuple[list[tuple[Any, ...]], list[float]]:
        """Flatten the sets and check the weights."""
        if isinstance(grad_sets, Mapping):
            raise TypeError("grad_sets: expected a list of gradient sets, got one mapping")
        sets = [
            tuple(self._engine.tree.flatten(grads, f"grad_sets[{k}]"))
            for k, grads in enumerate(grad_sets)
        ]
        if not sets:
            raise ValueError("grad_sets: expected at least one set, got none")
        given = [1.0] * len(sets) if weights is None else list(weights)
        if len(given) != len(sets):
            raise ValueError(
                f"weights: expected {len(sets)}, one per gradient set, got {len(given)}"
            )
        return sets, [Number().check(f"weights[{i}]", weight) for i, weight in enumerate(given)]

    def gradients(self, grads: object) -> Sequence[Any]:
        """The gradients of :meth:`step`, in the order of the parameters."""
        engine = self._engine
        if grads is not _BOUND:
            return cast(Sequence[Any], engine.tree.flatten(grads))
        present = engine.bound.present()
        return engine.bound.arrays if present is None else present

    def step_together(
        self,
        grads: Sequence[Any] | None,
        tables: Mapping[int, tuple[object, object]],
        scale: Any,
        *,
        advances: bool = True,
    ) -> StepResult:
        """One step with the gradients of some parameters and of some rows of others."""
        engine = self._engine
        engine.begin()
        parts = [(number, *tables[number]) for number in sorted(tables)]
        result = engine.core.step_together(grads, parts, scale, advances)
        if engine.tensors is not None:
            if grads is not None:
                engine.tensors.after_step(result, grads)
            engine.tensors.note(result, [*tables])
        return _APPLIED if result is None else StepResult(*result)

    def step_rows(
        self,
        number: int,
        indices: object,
        rows: object,
        grad_scale: Any,
        advance: bool | None,
    ) -> StepResult:
        """Step with the gradients of some rows of one parameter."""
        if advance is None:
            self._refuse_rate_that_stands_still(number)
        advances = advance is not None and Switch().check("advance", advance)
        scale = self._engine.space.check_grad_scale(grad_scale)
        return self.step_together(None, {number: (indices, rows)}, scale, advances=advances)

    def _refuse_rate_that_stands_still(self, number: int) -> None:
        """Raise where a second step of rows follows a schedule that nothing has advanced."""
        engine = self._engine
        group = engine.groups[engine.tree.group_of[number]]
        core = engine.core
        if group.has_schedule and core.step_count == 0 and core.steps_of(number) > 0:
            raise RuntimeError(
                f"step_rows of {shown(engine.tree.names[number])}: the learning rate is a schedule, "
                "which steps of rows do not advance, and no other step has: pass advance=True where the "
                "rows are the whole step, call it with the rest of the batch inside `with "
                "opt.one_step():`, or pass advance=False if this is meant"
            )

    @staticmethod
    def _note_zeroed(result: Any, sets: Iterable[Sequence[object]]) -> None:
        """Tell torch that a step has zeroed its gradients."""
        if result is None or result[0] is not False:  # on a device an array, not waited for
            for grads in sets:
                note_written(tensors_among(grads))

    def bind(self, grads: object) -> None:
        """Use these gradients for every step without gradients; None releases them."""
        engine = self._engine
        if grads is None:
            engine.core.bind(None, [(engine, "bound", NOTHING_BOUND)])
            return
        # A NumPy scalar could not be written to for the next step.
        flat = tuple(engine.tree.flatten(grads, scalars=False))
        bound = BoundGradients(engine.tree.names, engine.tree.leaves, flat)
        tensors = None if engine.tensors is None else engine.tensors.copy()
        if tensors is not None:
            tensors.bind(bound.arrays)
        engine.core.bind(
            None if bound.of_parameters else bound.arrays,
            [(engine, "bound", bound), (engine, "tensors", tensors)],
        )
