"""Parameters and state of an optimizer as users see them, counters, saving and loading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

from numpy.typing import NDArray

from fusedstep import _formats
from fusedstep._checks import as_flag, as_integer, require_keys
from fusedstep._engine import Engine, HoldsEngine
from fusedstep._errors import CheckpointError
from fusedstep._flat import flattened, is_flat, nested
from fusedstep._messages import listed, no_parameter, shown
from fusedstep._resume import NameMap, fitted, loaded, renamed, schedules_of
from fusedstep._setup import Setup
from fusedstep._slips import state_meant
from fusedstep._snapshot import MAX_STEP, SAVED, Snapshot
from fusedstep.checkpoint import LoadResult, load, save
from fusedstep.checkpoint._checkpoint import PathLike
from fusedstep.checkpoint._content import HasStateDict, OptimizerContent

__all__ = ["HasState", "StateView", "decoded_parameter"]

T = TypeVar("T")


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
    """What an optimizer shows, saves and loads: parameters, state, counters."""

    _engine: Engine
    _setup: Setup

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters that were passed in, by name."""
        tree = self._engine.tree
        return MappingProxyType(dict(zip(tree.names, tree.leaves, strict=True)))

    @property
    def state(self) -> Mapping[str, Mapping[str, Any]]:
        """State by parameter name: ``state["w"]["exp_avg"]`` is the live array.

        It is a NumPy view, or an array of the parameter's library on a CUDA device. To change it,
        write into it: ``state["w"]["exp_avg"][...] = 0``. With `state_dtype`, it has the bits of
        bfloat16 (uint16), or 8-bit codes (uint8) and beside them ``exp_avg_scale``: one float32 for
        each 128 elements in the order of memory.
        """
        return StateView(self._engine)

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

    @property
    def step_count(self) -> int:
        """The number of steps so far; each parameter's own count is ``state[name]["step"]``."""
        return self._engine.core.step_count

    def set_counters(
        self, step_count: int | None = None, steps: int | Mapping[str, int] | None = None
    ) -> None:
        """Set how many steps there were: all or none of what is given; None leaves it.

        Parameters
        ----------
        step_count
            What schedules follow: :attr:`step_count`.
        steps
            The counters of parameters, from which bias corrections follow, ``state[name]["step"]``:
            one number for all, or numbers by name.
        """
        engine = self._engine
        index = engine.tree.index
        if step_count is None and steps is None:
            raise TypeError("set_counters: expected step_count or steps, got neither")
        if step_count is not None:
            step_count = as_integer("step_count", step_count, 0, MAX_STEP)
            for group in engine.groups:
                if group.has_schedule:
                    group.lr_at(step_count)  # raises where the rate is none
        counters: list[int | None] = [None] * len(index)
        if isinstance(steps, Mapping):
            if unknown := [name for name in steps if name not in index]:
                raise ValueError(f"steps: {no_parameter(unknown, index)}")
            for name, count in steps.items():
                counters[index[name]] = as_integer(f"steps of {shown(name)}", count, 0, MAX_STEP)
        elif steps is not None:
            counters = [as_integer("steps", steps, 0, MAX_STEP)] * len(index)
        engine.core.set_counters(step_count, counters)

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the frozen parameters."""
        engine = self._engine
        return frozenset(name for name, i in engine.tree.index.items() if engine.core.is_frozen(i))

    def freeze(self, *names: str) -> None:
        """Leave these parameters, their state and counters unchanged even if they have gradients.

        Their gradients do not count towards the norm. ``opt.freeze(*opt.params)`` freezes all.

        Parameters
        ----------
        *names
            At least one.

        Raises
        ------
        TypeError, ValueError
            There is no name, or one that is not a parameter's; nothing has changed then.
        """
        self._engine.freeze(names)

    def unfreeze(self, *names: str) -> None:
        """Undo :meth:`freeze` for these parameters; it raises the same errors."""
        self._engine.unfreeze(names)

    def state_dict(self, *, flat: bool = False) -> dict[str, Any]:
        """State, averages, counters and the groups' options: a dict of numbers and copied arrays.

        :meth:`save` saves all that it takes to resume a run. Beside this dict you need what it does
        not contain: the parameters (save them with it, before the next step), schedules (their
        current rate is saved, but the new optimizer has its own schedule), the names of frozen
        parameters, and the options of the whole optimizer that are given at construction
        (``skip_nonfinite``, ``ema_decay``, ``working_copy``, ``seed``).

        Parameters
        ----------
        flat
            Return a dict of one level, ``{"state.w.exp_avg": ..., "groups.0.lr": 0.001}``, of
            numbers, strings and arrays, as ``np.savez(file, **state)`` stores it without pickle.
            Lists are arrays in it, and options that are None are left out.
        """
        self._check_unswapped("state_dict")
        nest = self._engine.snapshot().as_dict()
        return flattened(nest) if as_flag("flat", flat) else nest

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`: state, counters and options, matched by name.

        It may be flat, and that of ``np.load``. A schedule is kept, since it is a function of the
        step count, which is loaded; a learning rate that is a number is loaded. Arrays are neither
        cast nor rescaled: `state_dtype` and the options that go with it must be as they were saved.

        Raises
        ------
        ValueError
            The dict has another rule, other parameters, shapes, dtypes or groups. The message lists
            the differences, and nothing has changed.
        """
        self._check_unswapped("load_state_dict")
        if is_flat(state_dict):
            state_dict = nested(state_dict, self._engine.groups)
        require_keys(state_dict, *SAVED)
        saved = Snapshot(**{key: state_dict[key] for key in SAVED})
        self._engine.restore(saved, type(self).__name__)

    def save(
        self, path: PathLike, *, include_params: bool = False, background: bool = False
    ) -> None:
        """Save the optimizer to a safetensors file: all that decides its next steps.

        That is state, averages, counters, options by group and as a whole (seeds among them), which
        parameters are frozen, and where schedules are that have a ``state_dict``. A file that is
        there is replaced as a whole, once the new one is on the disk, or not at all.
        :func:`fusedstep.checkpoint.save` saves data and numbers of your own with it, and has the
        other parameters and the errors.

        Parameters
        ----------
        path
            The file.
        include_params
            Save the parameters, too. Otherwise save them with it, before the next step.
        background
            Only copy the arrays now, and write them while the program goes on.
        """
        save(path, opt=self, include_params=include_params, background=background)

    def load(
        self,
        path: PathLike,
        *,
        strict: bool = True,
        map_names: NameMap = None,
        include_params: bool | None = None,
    ) -> LoadResult:
        """Go on from :meth:`save`, or :func:`fusedstep.checkpoint.save`, to the same bits.

        Parameters that are in the file are loaded, too, into the arrays that were passed in. See
        :meth:`fusedstep.checkpoint.Checkpoint.restore` for the parameters and errors.
        """
        return load(path).restore(
            self, strict=strict, map_names=map_names, include_params=include_params
        )

    def _check_unswapped(self, what: str) -> None:
        """Raise RuntimeError where parameters hold what nobody can save or load."""

    def _hold(self, read: Callable[[OptimizerContent], T], *, include_params: bool) -> T:
        """What `read` makes of the arrays themselves, while nobody steps."""
        self._check_unswapped("save")
        engine, policy = self._engine, self._setup.policy.saved()
        schedules = {place: s.state_dict() for place, s in schedules_of(engine).items()}

        def take(snapshot: Snapshot) -> T:
            frozen = tuple(sorted(self.frozen))
            return read(OptimizerContent(snapshot, policy, frozen, schedules))

        return engine.hold(take, "save parameters" if include_params else "")

    def _resume(
        self,
        content: OptimizerContent,
        parts: Mapping[str, tuple[HasStateDict, Any]],
        *,
        strict: bool,
        map_names: NameMap,
    ) -> tuple[list[str], list[str]]:
        """Load what :meth:`_hold` gave, and the states of other parts: all or nothing."""
        self._check_unswapped("load")
        engine, label = self._engine, type(self).__name__
        content = renamed(content, map_names)
        snapshot, missing, unexpected = content.snapshot, list[str](), list[str]()
        if not strict:
            params_for = "" if snapshot.params is None else "load parameters"
            live = engine.hold(lambda now: now, params_for)
            snapshot, missing, unexpected = fitted(snapshot, live, engine.expected())
        found: list[str] = []
        policy = self._setup.policy
        try:
            policy = self._setup.policy_from(content.policy)
        except (TypeError, ValueError) as error:
            found.append(f"options of the whole optimizer: {error}")
        schedules, states = schedules_of(engine), content.schedules
        here, saved = sorted(schedules), sorted(states)
        if here != saved:
            found.append(f"schedules with a state: expected {shown(here)}, got {shown(saved)}")
        of_schedules = {place: (schedules[place], states[place]) for place in here if not found}
        with loaded({**of_schedules, **parts}):
            engine.restore(
                snapshot,
                label,
                CheckpointError,
                found,
                policy=policy.of_core(),
                frozen=(self.frozen - content.snapshot.state.keys()).union(content.frozen),
                assignments=[(self._setup, "policy", policy)],
            )
        return missing, unexpected
