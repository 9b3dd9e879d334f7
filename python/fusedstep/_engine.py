"""The arrays of a tree, their groups and state, and the compiled core that updates them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import Enum
from functools import partial
from types import MappingProxyType
from typing import Any, cast

from fusedstep._autograd import (
    NOTHING_BOUND,
    BoundGradients,
    WrittenTensors,
    note_written,
    tensors_among,
)
from fusedstep._group import Group, follow_schedules, replace
from fusedstep._messages import no_parameter, shown
from fusedstep._options import Number, Switch
from fusedstep._pipeline import StepResult
from fusedstep._snapshot import Expected, Snapshot
from fusedstep._spaces.space import Space
from fusedstep._specs import GroupOptions, TensorSpec
from fusedstep._tree import Tree

__all__ = ["Bound", "Engine", "HoldsEngine"]

_APPLIED = StepResult(applied=True, grad_norm=None)


class Bound(Enum):
    """The default of `grads`: that None is passed by mistake must not mean the bound gradients."""

    GRADIENTS = "the bound gradients"

    def __repr__(self) -> str:
        return f"<{self.value}>"


class HoldsEngine:
    """An object that can be neither copied nor pickled, because it updates the caller's arrays."""

    def __reduce_ex__(self, protocol: object) -> Any:  # which copy and deepcopy also call
        name = type(self).__name__
        raise TypeError(
            f"{name}: it holds the memory of your arrays, and cannot be copied or pickled: copy or "
            f"pickle its state_dict(), and load that into a new {name}"
        )


class Engine:
    """Arrays by name under one rule.

    Parameters
    ----------
    rule
        The name of the compiled rule.
    space
        Where the arrays are.
    words
        What messages call a gradient, and what steps update.
    fixed
        Options that are fixed at construction, and must be equal in a snapshot that is loaded.
    averaging
        Whether to average the arrays of the tree: the core then updates their ``average``.
    autograd
        Whether torch's autograd has to be told of steps, because they write the caller's arrays.
    """

    def __init__(
        self,
        rule: str,
        space: Space,
        *words: str,
        fixed: Mapping[str, object] = MappingProxyType({}),
        averaging: bool = False,
        autograd: bool = False,
    ) -> None:
        self.space = space
        self.core = space.stepper(rule, *words)
        self.tree = Tree()
        self.groups: list[Group] = []
        self.buffers: list[dict[str, Any]] = []  # the arrays of each parameter that are saved
        self.tensors: WrittenTensors | None = None  # where torch tensors are among the arrays
        self._bound = NOTHING_BOUND
        self._checks, self._until_check = 0, 0  # of the holders; and the steps until the next
        self._rule = rule
        self._target = words[1] if words else "parameter"
        self._fixed = fixed
        self._averaging = averaging
        self._autograd = autograd

    def add(
        self,
        tree: Tree,
        options: Sequence[GroupOptions],
        buffers: Sequence[dict[str, Any]],
        copies: Mapping[str, object] = MappingProxyType({}),
        groups: Sequence[Group] = (),
    ) -> None:
        """Add the parameters by which `tree` extends the present one, all or none.

        `options` and `groups` are those of the new groups, `buffers` the arrays of each new
        parameter, `copies` the working copies by name.
        """
        here = len(tree.names) - len(buffers)
        specs = [
            self._spec(tree, i, own, copies.get(tree.names[i]))
            for i, own in enumerate(buffers, here)
        ]
        tensors = self.tensors
        if self._autograd:
            note_written(tensors_among(copies.values()))
            tensors = self._with_tensors(specs, here, copies)
        self.core.add(
            options,
            specs,
            [
                (self, "tree", tree),
                (self, "groups", [*self.groups, *groups]),
                (self, "buffers", [*self.buffers, *buffers]),
                (self, "tensors", tensors),
                (self, "_bound", NOTHING_BOUND),
                (self, "_until_check", 0),
            ],
        )
        if self.tensors is not None:
            self.space.share_threads(self.core)

    def _spec(self, tree: Tree, i: int, own: Mapping[str, Any], copy: object) -> TensorSpec:
        if self._averaging:
            return TensorSpec(name=tree.names[i], param=own["average"])
        average = own.get("ema")  # the last of them
        arrays = [*own.values()]
        return TensorSpec(
            name=tree.names[i],
            param=tree.leaves[i],
            states=arrays if average is None else arrays[:-1],
            group=tree.group_of[i],
            average=average,
            copy=copy,
        )

    def _with_tensors(
        self, specs: Sequence[TensorSpec], here: int, copies: Mapping[str, object]
    ) -> WrittenTensors | None:
        """The torch tensors that steps will write; None where there are none."""
        tensors = WrittenTensors() if self.tensors is None else self.tensors.copy()
        for i, spec in enumerate(specs, here):
            tensors.add(i, spec.param, copies.get(spec.name))
        return tensors if len(tensors) > 0 else None

    def number_of(self, name: object) -> int:
        """The number of a parameter, or KeyError that says which there are."""
        index = self.tree.index
        if not (isinstance(name, str) and name in index):
            raise KeyError(no_parameter([name], index, self._target))
        return index[name]

    # Steps -----------------------------------------------------------------------------------

    def step(
        self, grads: object, grad_scale: Any, zero_grads: bool, allow_empty: bool
    ) -> StepResult:
        """Step with gradients in the structure of the tree, or the bound ones."""
        self.begin()
        if grads is not Bound.GRADIENTS:
            flat = self.tree.flatten(grads)
            if self.tensors is not None:
                flat = tuple(flat)  # the caller's list may have changed when the step is done
        else:
            flat = self._bound.present()
        # An array on a device is not compared with 1.0: that would wait for the device.
        if (
            type(grad_scale) is float
            and grad_scale == 1.0
            and zero_grads is False
            and allow_empty is False
        ):
            result = self.core.step(flat)
        else:
            scale = self.space.check_grad_scale(grad_scale)
            zero = Switch().check("zero_grads", zero_grads)
            empty = Switch().check("allow_empty", allow_empty)
            result = self.core.step(flat, scale, zero, empty)
            if zero:
                self._note_zeroed(result, [self._bound.arrays if flat is None else flat])
        if self.tensors is not None:
            self.tensors.after_step(result, flat)
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
        sets, numbers = self._gradient_sets(grad_sets, weights)
        divisor = sum(numbers) if mean else 1.0
        if divisor == 0.0 or not math.isfinite(divisor):
            raise ValueError(f"weights: expected a finite sum > 0, got {divisor}")
        scale = self.space.check_grad_scale(grad_scale)
        zero = Switch().check("zero_grads", zero_grads)
        empty = Switch().check("allow_empty", allow_empty)
        self.begin()
        result = self.core.step_combined(sets, numbers, divisor, scale, zero, empty)
        if zero:
            self._note_zeroed(result, sets)
        if self.tensors is not None:
            self.tensors.after_step(result, sets[0])  # all sets cover the same parameters
        return _APPLIED if result is None else StepResult(*result)

    def _gradient_sets(
        self, grad_sets: Iterable[object], weights: Iterable[float] | None
    ) -> tuple[list[tuple[Any, ...]], list[float]]:
        """Flatten the sets and check the weights."""
        if isinstance(grad_sets, Mapping):
            raise TypeError("grad_sets: expected a list of gradient sets, got one mapping")
        sets = [
            tuple(self.tree.flatten(grads, f"grad_sets[{k}]")) for k, grads in enumerate(grad_sets)
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
        if grads is not Bound.GRADIENTS:
            return cast(Sequence[Any], self.tree.flatten(grads))
        present = self._bound.present()
        return self._bound.arrays if present is None else present

    def step_together(
        self,
        grads: Sequence[Any] | None,
        tables: Mapping[int, tuple[object, object]],
        scale: Any,
    ) -> StepResult:
        """One step with the gradients of some parameters and of some rows of others."""
        self.begin()
        parts = [(number, *tables[number]) for number in sorted(tables)]
        result = self.core.step_together(grads, parts, scale)
        if self.tensors is not None:
            if grads is not None:
                self.tensors.after_step(result, grads)
            self.tensors.note(result, [*tables])
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
        if advance is not None and Switch().check("advance", advance):
            scale = self.space.check_grad_scale(grad_scale)
            return self.step_together(None, {number: (indices, rows)}, scale)
        self.begin()
        group = self.groups[self.tree.group_of[number]]
        if advance is None and group.has_schedule and self.core.step_count == 0:
            self._refuse_rate_that_stands_still(number)
        scale = self.space.check_grad_scale(grad_scale)
        result = self.core.step_rows(number, indices, rows, scale)
        if self.tensors is not None:
            self.tensors.note(result, [number])
        return _APPLIED if result is None else StepResult(*result)

    def _refuse_rate_that_stands_still(self, number: int) -> None:
        """Raise where a second step of rows follows a schedule that nothing has advanced."""
        if self.core.steps_of(number) > 0:
            raise RuntimeError(
                f"step_rows of {self.tree.names[number]!r}: the learning rate is a schedule, which "
                "steps of rows do not advance, and no other step has: pass advance=True where the "
                "rows are the whole step, call it with the rest of the batch inside `with "
                "opt.one_step():`, or pass advance=False if this is meant"
            )

    @staticmethod
    def _note_zeroed(result: Any, sets: Iterable[Sequence[object]]) -> None:
        """Tell torch that a step has zeroed its gradients."""
        if result is None or result[0] is not False:  # on a device an array, not waited for
            for grads in sets:
                note_written(tensors_among(grads))

    def begin(self) -> None:
        """Look now and then at what the caller holds, and set the learning rates of the next."""
        self._until_check -= 1
        if self._until_check < 0:
            self._check_holders()
        follow_schedules(self.groups)

    def _check_holders(self) -> None:
        """Raise ValueError where the caller has replaced an array.

        Called in the first eight steps and after loading, when mistakes happen, and then ever more
        rarely, at last once in 256 steps, so that it costs a step nothing that can be measured.
        """
        self._until_check = 0  # so that the next step looks again if this one raises
        self.tree.check_holders()
        self._checks += 1
        self._until_check = (1 << min(max(self._checks - 8, 0), 8)) - 1

    def swap_in(
        self, what: str, why: str, values: Callable[[list[int]], list[Any]]
    ) -> Callable[[], None]:
        """A call of the core that gives the parameters the `values` of their numbers of steps.

        They are new arrays, one like each parameter. Until ``core.swap_out()`` whoever steps, or
        wants to do `what` another does, is told `why` that cannot be.
        """
        written = partial(note_written, tensors_among(self.tree.leaves))
        return partial(self.core.swap_in, what, why, values, written)

    def bind(self, grads: object) -> None:
        """Use these gradients for every step without gradients; None releases them."""
        if grads is None:
            self.core.bind(None, [(self, "_bound", NOTHING_BOUND)])
            return
        # A NumPy scalar could not be written to for the next step.
        flat = tuple(self.tree.flatten(grads, scalars=False))
        bound = BoundGradients(self.tree.names, self.tree.leaves, flat)
        tensors = None if self.tensors is None else self.tensors.copy()
        if tensors is not None:
            tensors.bind(bound.arrays)
        self.core.bind(
            None if bound.of_parameters else bound.arrays,
            [(self, "_bound", bound), (self, "tensors", tensors)],
        )

    def freeze(self, names: Sequence[str]) -> None:
        """Leave these parameters out of every step."""
        self._set_frozen("freeze", names, True)

    def unfreeze(self, names: Sequence[str]) -> None:
        """Undo :meth:`freeze`."""
        self._set_frozen("unfreeze", names, False)

    def _set_frozen(self, verb: str, names: Sequence[str], frozen: bool) -> None:
        if not names:  # an empty selection must not mean all
            raise ValueError(
                f"{verb}: expected at least one name, got none (of all: opt.{verb}(*opt.params))"
            )
        for name in names:
            if not isinstance(name, str):
                raise TypeError(
                    f"{verb}: expected names (str), got {shown(name)} "
                    f"(of a list: opt.{verb}(*names))"
                )
        index = self.tree.index
        if unknown := [name for name in names if name not in index]:
            raise ValueError(f"{verb}: {no_parameter(unknown, index)}")
        numbers = [index[name] for name in names]
        tensors = None if self.tensors is None else self.tensors.copy()
        if tensors is not None:
            tensors.freeze(numbers, frozen)
            if not frozen:
                tensors.note_copies()
        self.core.freeze(numbers, frozen, [(self, "tensors", tensors)])

    # Saving ----------------------------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Counters, options and copies of all arrays that are saved."""
        step_count, steps, copies = self.core.snapshot(of_params=self._averaging)
        arrays = iter(copies)
        return Snapshot(
            self._rule,
            step_count,
            [{"params": list(g.params), **g.saved_at(step_count)} for g in self.groups],
            {
                name: {"step": step, **{array: next(arrays) for array in buffers}}
                for name, step, buffers in zip(self.tree.names, steps, self.buffers, strict=True)
            },
            self._fixed,
        )

    def restore(self, snapshot: Snapshot, label: str) -> None:
        """Load a snapshot, or raise ValueError that lists why it does not fit this `label`."""
        buffers = dict(zip(self.tree.names, self.buffers, strict=True))
        kind_of = self.space.kind_of
        kinds = {
            name: {array: kind_of(own[array]) for array in own} for name, own in buffers.items()
        }
        expected = Expected(self._rule, self._fixed, self.groups, kinds, self._target)
        options = snapshot.compare(expected, label)
        step_count, state = int(snapshot.step_count), snapshot.state
        apply = partial(
            self.core.restore,
            step_count,
            [int(state[name]["step"]) for name in buffers],
            [state[name][array] for name, own in buffers.items() for array in own],
            of_params=self._averaging,
        )
        if self.tensors is not None:
            self.tensors.note_copies()
        replace(self.groups, options, apply, step_count)
        self._until_check = 0
