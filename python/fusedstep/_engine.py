"""The arrays of a tree, their groups and state, and the compiled core that updates them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any, TypeVar, cast

from numpy.typing import NDArray

from fusedstep import _core
from fusedstep._autograd import (
    NOTHING_BOUND,
    WrittenTensors,
    note_written,
    tensors_among,
)
from fusedstep._errors import CheckpointError
from fusedstep._formats import fields
from fusedstep._group import Group, follow_schedules, replace
from fusedstep._messages import no_parameter, shown
from fusedstep._snapshot import Expected, Parameter, ParameterKind, Snapshot, copied, misfit
from fusedstep._spaces.space import Space
from fusedstep._specs import Assignment, GroupOptions, TensorSpec
from fusedstep._tree import Tree

__all__ = ["Engine", "HoldsEngine"]

T = TypeVar("T")


class HoldsEngine:
    """An object that can be neither copied nor pickled, because it updates the caller's arrays."""

    def __reduce_ex__(self, protocol: object) -> Any:  # which copy and deepcopy also call
        name = type(self).__name__
        raise TypeError(
            f"{name}: it holds the memory of your arrays, and cannot be copied or pickled: load "
            f"its state_dict() into a new {name}"
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
        self.core: _core.Stepper = space.stepper(rule, *words)
        self.tree: Tree = Tree()
        self.groups: list[Group] = []
        self.buffers: list[dict[str, Any]] = []  # the arrays of each parameter that are saved
        self.tensors: WrittenTensors | None = None  # where torch tensors are among the arrays
        self.bound = NOTHING_BOUND  # the gradients of bind()
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
                (self, "bound", NOTHING_BOUND),
                (self, "_until_check", 0),
            ],
        )
        if self.tensors is not None:
            self.space.share_threads(self.core)

    def _spec(self, tree: Tree, i: int, own: Mapping[str, Any], copy: object) -> TensorSpec:
        if self._averaging:
            return TensorSpec(name=tree.names[i], param=own["average"])
        return TensorSpec(
            name=tree.names[i],
            param=tree.leaves[i],
            group=tree.group_of[i],
            copy=copy,
            **fields(own),
        )

    def _with_tensors(
        self, specs: Sequence[TensorSpec], here: int, copies: Mapping[str, object]
    ) -> WrittenTensors | None:
        """The torch tensors that steps will write; None where there are none."""
        if not tensors_among([*(spec.param for spec in specs), *copies.values()]):
            return self.tensors
        tensors = WrittenTensors() if self.tensors is None else self.tensors.copy()
        for i, spec in enumerate(specs, here):
            tensors.add(i, spec.param, copies.get(spec.name))
        return tensors

    def number_of(self, name: object) -> int:
        """The number of a parameter, or KeyError that says which there are."""
        index = self.tree.index
        if not (isinstance(name, str) and name in index):
            raise KeyError(no_parameter([name], index, self._target))
        return index[name]

    def begin(self) -> None:
        """Look now and then at what the caller holds, and set the learning rates of the next."""
        self._until_check -= 1
        if self._until_check < 0:
            self._check_holders()
        for group in self.groups:  # not any(), whose generator costs a tenth of a step
            if group.has_schedule:
                follow_schedules(self.groups)
                break

    def _check_holders(self) -> None:
        """Raise ArrayChangedError where the caller has replaced an array.

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

    def hold(self, read: Callable[[Snapshot], T], params_for: str = "") -> T:
        """Return what `read` makes of a snapshot of the arrays themselves, while nobody steps.

        With the parameters, where it is said what they are for: RuntimeError while they hold others.
        """
        names = self.tree.names
        if self._averaging:
            params_for = "read averages"

        def take(
            step_count: int, steps: Sequence[int], states: Sequence[Any], params: Sequence[Any]
        ) -> T:
            arrays = iter(params if self._averaging else states)
            with_params = bool(params_for) and not self._averaging
            return read(
                Snapshot(
                    self._rule,
                    step_count,
                    [{"params": list(g.params), **g.saved_at(step_count)} for g in self.groups],
                    {
                        name: {"step": step, **{array: next(arrays) for array in buffers}}
                        for name, step, buffers in zip(names, steps, self.buffers, strict=True)
                    },
                    self._fixed,
                    params=self._named(params) if with_params else None,
                )
            )

        return cast(T, self.core.hold(take, params_for))

    def _named(self, values: Sequence[NDArray[Any]]) -> dict[str, Parameter]:
        """The parameters by name, from their values."""
        kinds = self._kinds().values()
        return {
            name: Parameter(own, kind.format)
            for name, own, kind in zip(self.tree.names, values, kinds, strict=True)
        }

    def _kinds(self) -> dict[str, ParameterKind]:
        """The kind of each parameter by name."""
        names, leaves = self.tree.names, self.tree.leaves
        formats = self.space.formats(self._target, names, leaves)
        return {
            name: ParameterKind(own_format, tuple(leaf.shape))
            for name, leaf, (own_format, _) in zip(names, leaves, formats, strict=True)
        }

    def snapshot(self) -> Snapshot:
        """Counters, options and copies of all arrays that are saved."""
        return self.hold(copied)

    def expected(self) -> Expected:
        """What a snapshot must be like to be loaded."""
        buffers = zip(self.tree.names, self.buffers, strict=True)
        kind_of = self.space.kind_of
        state = {name: {array: kind_of(own[array]) for array in own} for name, own in buffers}
        return Expected(self._rule, self._fixed, self.groups, state, self._kinds(), self._target)

    def restore(
        self,
        snapshot: Snapshot,
        label: str,
        error: type[ValueError] = ValueError,
        others: Sequence[str] = (),
        *,
        policy: tuple[bool, bool, bool, float, int] | None = None,
        frozen: Collection[str] | None = None,
        assignments: Sequence[Assignment] = (),
    ) -> None:
        """Load a snapshot, or raise the error that lists why it does not fit this `label`.

        `others` are differences that were found before. `policy` are the options of the whole,
        `frozen` the names of all frozen parameters, and `assignments` attributes that are set where
        it is loaded.
        """
        found = [*others]
        options = snapshot.compare(self.expected(), found)
        if found:
            what = "it" if error is CheckpointError else "state_dict"
            raise misfit(error, f"{what} does not fit this {label}", found)
        step_count, state, params = int(snapshot.step_count), snapshot.state, snapshot.params
        arrays = [
            state[name][array]
            for name, own in zip(self.tree.names, self.buffers, strict=True)
            for array in own
        ]
        values = None if params is None else [params[name].values for name in self.tree.names]
        tensors = self.tensors
        if tensors is not None:
            tensors.note_copies()
            if values is not None:
                note_written(tensors_among(self.tree.leaves))
            if frozen is not None:
                tensors = tensors.copy()
                tensors.freeze(range(len(self.tree.names)), False)
                tensors.freeze([self.tree.index[n] for n in frozen if n in self.tree.index], True)

        def apply(options: list[GroupOptions], of_groups: list[Assignment]) -> None:
            self.core.restore(
                step_count,
                [int(state[name]["step"]) for name in self.tree.names],
                [] if self._averaging else arrays,
                arrays if self._averaging else values,
                options,
                [*of_groups, *assignments, (self, "tensors", tensors)],
                policy,
                None if frozen is None else [name in frozen for name in self.tree.names],
            )

        replace(self.groups, options, apply, step_count)
        self._until_check = 0
