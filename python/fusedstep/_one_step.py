"""One step of several calls: what ``with opt.one_step():`` gathers."""

from __future__ import annotations

from collections.abc import Iterable
from threading import get_ident
from typing import Any

from fusedstep._engine import Engine
from fusedstep._messages import shown
from fusedstep._pipeline import StepResult
from fusedstep._steps import Steps

__all__ = ["OneStep"]

_NOT_YET = StepResult(applied=False, grad_norm=None)


class OneStep:
    """Takes the place of Steps in a block, and makes one step of the calls at its end."""

    def __init__(self, engine: Engine, steps: Steps, grad_scale: Any) -> None:
        self._names = engine.tree.names
        self._steps = steps
        self._scale = engine.space.check_grad_scale(grad_scale)
        self._thread = get_ident()
        self._grads: tuple[Any, ...] | None = None
        self._tables: dict[int, tuple[object, object]] = {}  # indices and rows, by parameter
        self._result: StepResult | None = None

    @property
    def result(self) -> StepResult:
        """The outcome of the step, after the block; a RuntimeError within."""
        if self._result is None:
            raise RuntimeError("result: the step is made at the end of the block of one_step()")
        return self._result

    def step(self, grads: object, *others: object) -> StepResult:
        """Take the gradients of ``opt.step(grads)``."""
        self._refuse("step", others, (1.0, False, False))
        if self._grads is not None:
            raise RuntimeError("cannot call step() twice inside one_step(): pass all gradients")
        self._grads = tuple(self._steps.gradients(grads))
        return _NOT_YET

    def step_rows(self, number: int, indices: object, rows: object, *others: object) -> StepResult:
        """Take the rows of ``opt.step_rows(name, indices, rows)``."""
        self._refuse("step_rows", others, (1.0, None))
        if number in self._tables:
            raise RuntimeError(
                f"cannot call step_rows({shown(self._names[number])}, ...) twice inside "
                "one_step(): concatenate the indices, and the rows"
            )
        self._tables[number] = (indices, rows)
        return _NOT_YET

    def step_combined(self, *_: object, mean: bool) -> StepResult:
        """Refuse ``step_mean`` and ``step_sum``."""
        raise RuntimeError(f"cannot call step_{'mean' if mean else 'sum'}() inside one_step()")

    def bind(self, grads: object) -> None:
        """Bind gradients, as outside of the block."""
        self._steps.bind(grads)

    def make(self) -> None:
        """Make the step."""
        if self._grads is None and not self._tables:
            raise ValueError("one_step: expected step() or step_rows() in the block, got neither")
        self._result = self._steps.step_together(self._grads, self._tables, self._scale)

    def _refuse(self, call: str, others: Iterable[object], expected: Iterable[object]) -> None:
        if self._thread != get_ident():
            raise RuntimeError(f"cannot {call} while another thread is inside one_step()")
        if any(type(a) is not type(b) or a != b for a, b in zip(others, expected, strict=True)):
            raise ValueError(
                f"{call}: expected no other arguments inside one_step(), which takes grad_scale "
                "itself"
            )
