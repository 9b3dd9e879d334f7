"""The base of every optimizer: parameters, groups, state, and the step."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar

from fusedstep import _core
from fusedstep.averages import Averages
from fusedstep.groups import Group, replace
from fusedstep.options import Option, Schedule, options_of
from fusedstep.params import Structure, split_groups
from fusedstep.pipeline import GROUP_OPTIONS, WHOLE_STEP, Policy
from fusedstep.resume import FORMAT, HoldsMemory, load
from fusedstep.spaces import space_of
from fusedstep.steps import Steps
from fusedstep.tensors import Tensors

__all__ = ["Optimizer", "available", "create"]

# Rules by their names, in the order of their definition.
registry: dict[str, type[Optimizer]] = {}


class _StateView(Mapping[str, Mapping[str, Any]]):
    """State by parameter name: ``step`` and the live buffers, to be written into, not replaced."""

    def __init__(self, owner: Optimizer) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        i = self._owner._index[name]
        steps = self._owner._core.steps_of(i)
        return MappingProxyType({"step": steps, **self._owner._buffers[i]})

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._index)

    def __len__(self) -> int:
        return len(self._owner._index)

    def __repr__(self) -> str:
        buffers = {name: sorted(self._owner._buffers[i]) for name, i in self._owner._index.items()}
        return f"State({buffers})"


class Optimizer(Steps, HoldsMemory):
    """Updates arrays in place from their gradients; the rules derive from this.

    Every rule takes the arguments below, beside options of its own. Options of a rule, and the
    first two below, may be set group by group: ``{"params": ..., "lr": 0.1}``.

    Parameters
    ----------
    params
        The arrays to update: one array, a list or tuple, a mapping from names, any nesting of
        these, or a list of groups ``{"params": ..., "lr": ...}``. Arrays are NumPy's, or of a
        library that speaks DLPack on the CPU (torch: ``model.parameters()``); or all on one CUDA
        device (torch, CuPy, Numba: docs/cuda.md). float32 or float64, writeable, contiguous (C or
        Fortran order), native byte order. They are never copied: what cannot be updated in place is
        refused.
    max_grad_norm : float, optional
        Clip by norm: gradients are multiplied by ``min(1, max_grad_norm / (norm + 1e-6))``, as
        ``torch.nn.utils.clip_grad_norm_`` does. The norm is that of all gradients of the step; a
        group's own value is compared with the same norm. It costs one more read of the gradients.
        ``inf`` measures the norm and clips nothing.
    max_grad_value : float, optional
        Clip by value, after the norm: each element to ``[-max_grad_value, max_grad_value]``.
    clip_per_group : bool
        Compare each group's ``max_grad_norm`` with the norm of its own gradients.
    skip_nonfinite : bool
        A step whose gradients hold NaN or infinity moves nothing, counters included, zeroes
        nothing, and returns ``applied=False``.
    error_if_nonfinite : bool
        The same, with a FloatingPointError that names the parameter.
    ema_decay : float, optional
        Keep the moving average of every parameter in the same sweep: see :attr:`ema`.
    ema_bias_correction : bool
        Start the averages at 0 and correct for it, instead of starting at the parameters.
    working_copy : mapping, optional
        From names of float32 parameters to arrays of their shape in bfloat16 (``ml_dtypes``,
        torch, or the bits as uint16), which each step writes in the same sweep, rounded to
        nearest even.

    Raises
    ------
    TypeError
        A parameter is no array or not of floating point; an option is unknown.
    ValueError
        A parameter is read-only, not contiguous, misaligned, or overlaps another; an option is
        out of range.

    Notes
    -----
    A step does, in this order and in one sweep (LAMB and LARS: two): unscale (``grad_scale``), look
    for NaN and infinity, clip by norm, clip by value, negate (``maximize``), add coupled
    ``weight_decay``, the rule with a decay of its own, average, copy out, zero the gradients.
    The check for NaN and infinity and the norm read the gradients once more, before the sweep. What
    nobody asks for costs nothing.
    """

    rule: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Option]] = MappingProxyType({})
    starts_at_parameter: ClassVar[tuple[str, ...]] = ()  # buffers that start as a copy of it
    info: ClassVar[_core.RuleInfo]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in cls.__dict__:
            cls.options = MappingProxyType({**options_of(cls.__init__), **GROUP_OPTIONS})
            cls.info = _core.rules()[cls.rule]
            registry[cls.rule] = cls
            if cls.__doc__:  # there is none under python -OO
                cls.__doc__ = inspect.cleandoc(cls.__doc__) + WHOLE_STEP

    def __init__(self, params: object, **options: Any) -> None:  # noqa: ARG002
        raise TypeError(
            f"{type(self).__name__} is abstract: use a rule such as fs.Adam(...), or "
            "fs.create(name, ...)"
        )

    def _construct(self, params: object, arguments: Mapping[str, Any]) -> None:
        """Construct from the arguments of a rule's constructor: its `locals()`."""
        given = {name: arguments[name] for name in self.options if name in arguments}
        given |= arguments["pipeline"]
        self._refuse_unknown(given, [*self.options, *Policy.names()])
        self._policy = policy = Policy.take(given)
        trees, overrides = split_groups(params)
        structure = Structure([]).extended(trees)
        self._space = space_of(structure.names, structure.leaves)
        self._core = self._space.stepper(self.rule)
        self._core.set_policy(
            policy.skip_nonfinite,
            policy.error_if_nonfinite,
            policy.clip_per_group,
            policy.ema_decay or 0.0,
        )
        self._defaults = given
        self._index: dict[str, int] = {}
        self._groups: list[Group] = []
        self._buffers: list[dict[str, Any]] = []
        self._pause = ""
        self._tensors = None
        self._append(structure, 0, overrides, dict(policy.working_copy or {}))

    def _append(
        self,
        structure: Structure,
        here: int,
        overrides: list[dict[str, Any]],
        copies: dict[str, object],
    ) -> None:
        """Take in the groups of the parameters from number `here` on, all or none."""
        before = len(self._groups)
        names, group_of = structure.names[here:], structure.group_of[here:]
        if not names:
            raise ValueError("params: expected at least one array, got none")
        if unknown := [name for name in copies if name not in names]:
            raise ValueError(
                f"working_copy: expected names of parameters ({', '.join(names)}), "
                f"got {', '.join(map(repr, unknown))}"
            )
        groups = [
            Group(
                type(self),
                self._core,
                [name for name, group in zip(names, group_of, strict=True) if group == i],
                {**self._defaults, **own},
                i,
            )
            for i, own in enumerate(overrides, before)
        ]
        buffers = [own for group in groups for own in self._allocate(group, structure)]
        entries = []
        for i, (name, own) in enumerate(zip(names, buffers, strict=True), here):
            states = [array for state, array in own.items() if state != "ema"]
            copy = self._space.as_copy(copies.get(name))
            leaf, group = structure.leaves[i], structure.group_of[i]
            entries.append(
                _core.TensorSpec(
                    name=name,
                    param=leaf,
                    states=states,
                    group=group,
                    average=own.get("ema"),
                    copy=copy,
                )
            )
        settings = [group.settings() for group in groups]
        interrupt = None
        try:
            self._core.add(settings, entries)
        except KeyboardInterrupt as error:  # mostly one that came meanwhile, raised when it is done
            if self._core.tensor_count != len(structure.names):
                raise
            interrupt = error
        self._structure, self._index = structure, structure.index
        self._groups += groups
        self._buffers += buffers
        tensors = self._tensors or Tensors()
        for i, name in enumerate(names, here):
            tensors.add(i, (structure.leaves[i], copies.get(name)))
        self._tensors = tensors if len(tensors) > 0 else None
        if self._tensors is not None:
            self._space.share_threads(self._core)
        if interrupt is not None:
            raise interrupt

    # What a rule may override ------------------------------------------------------------------

    @staticmethod
    def _check_together(values: Mapping[str, Any]) -> None:
        """Raise ValueError where options that are fine alone do not go together."""

    @staticmethod
    def initial_state(values: Mapping[str, Any]) -> Mapping[str, float]:  # noqa: ARG004
        """Values that buffers start from where it is not 0, by buffer name."""
        return {}

    # Construction ------------------------------------------------------------------------------

    @classmethod
    def _refuse_unknown(cls, given: Mapping[str, object], known: list[str]) -> None:
        if unknown := [name for name in given if name not in known]:
            raise TypeError(
                f"{cls.__name__}: expected options among {', '.join(known)}, "
                f"got {', '.join(map(repr, unknown))}"
            )

    @classmethod
    def check_options(cls, given: Mapping[str, object]) -> dict[str, Any]:
        """The options as they will be used, or TypeError or ValueError.

        Options that are not given have their defaults.
        """
        cls._refuse_unknown(given, [*cls.options])
        values = {
            name: option.check(given.get(name, option.default))
            for name, option in cls.options.items()
        }
        cls._check_together(values)
        return values

    def _allocate(self, group: Group, structure: Structure) -> list[dict[str, Any]]:
        """The state buffers of every parameter of a group, and its average."""
        names = list(group.params)
        averages = ["ema"] if self._policy.ema_decay is not None else []
        states = [*group.state_names, *averages]
        leaves = [structure.leaves[structure.index[name]] for name in names]
        zeros = self._space.zeros
        if self.info.rowwise:  # averages have their parameter's shape nevertheless
            parts = (
                zeros("parameter", names, leaves, len(group.state_names), self.rule),
                zeros("parameter", names, leaves, len(averages)),
            )
            arrays = [own + average for own, average in zip(*parts, strict=True)]
        else:
            arrays = zeros("parameter", names, leaves, len(states))
        buffers = [dict(zip(states, own, strict=True)) for own in arrays]
        for state, value in self.initial_state(group).items():
            if value != 0.0:
                self._space.fill([own[state] for own in buffers], value)
        copies = [] if self._policy.ema_bias_correction else averages
        for state in (*self.starts_at_parameter, *copies):
            self._space.fill_with([own[state] for own in buffers], leaves)
        return buffers

    def add_group(self, group: object, working_copy: object = None) -> None:
        """Take in more parameters: ``{"params": ..., "lr": ...}``, as at construction.

        Options that the group does not set have the values that were given at construction.
        Gradients then come as a list with one structure a group, or as a mapping by name. Bound
        gradients are released. All or nothing.
        """
        if not (isinstance(group, Mapping) and "params" in group):
            raise TypeError(f"group: expected a mapping with the key 'params', got {group!r}")
        copies = Policy.take({"working_copy": working_copy}).working_copy
        trees, overrides = split_groups([group], len(self._groups))
        structure, here = self._structure.extended(trees), len(self._index)
        space_of(structure.names, structure.leaves)  # all in one place
        self._append(structure, here, overrides, dict(copies or {}))

    def __setattr__(self, name: str, value: object) -> None:
        # Python would take a slip such as `opt.weight_decay = 0.1`, and no step would see it.
        if not (name.startswith("_") or hasattr(type(self), name)):
            if name in self.options:
                hint = f"set it by group: opt.groups[i][{name!r}] = ..."
            elif name in Policy.names():
                hint = f"it is given at construction: {type(self).__name__}(..., {name}=...)"
            else:
                hint = f"there is no such option; there are {', '.join(self.options)}"
            raise AttributeError(f"{type(self).__name__}.{name} cannot be set: {hint}")
        super().__setattr__(name, value)

    # What is there to see and to set -----------------------------------------------------------

    @property
    def lr(self) -> float:
        """The learning rate of the next step; set a number or a schedule for all groups.

        Rprop's is fixed at construction: its step sizes started from it.
        """
        rates = {group.lr for group in self._groups}
        if len(rates) > 1:
            raise ValueError(
                f"lr: expected one value, but the groups differ ({', '.join(map(str, rates))}): "
                "read groups[i].lr"
            )
        return rates.pop()

    @lr.setter
    def lr(self, value: float | Schedule) -> None:
        values = [group.check({"lr": value}) for group in self._groups]
        replace(self._groups, values, self._core.set_groups)

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parameter groups; ``groups[0]["lr"] = 0.01`` sets an option."""
        return tuple(self._groups)

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters as they were handed over, by name."""
        return MappingProxyType(dict(zip(self._index, self._structure.leaves, strict=True)))

    @property
    def state(self) -> Mapping[str, Mapping[str, Any]]:
        """State by parameter name: ``state["w"]["exp_avg"]`` is the live buffer.

        A NumPy view of it; on a CUDA device an array of the parameter's library. Write into it:
        ``state["w"]["exp_avg"][...] = 0``.
        """
        return _StateView(self)

    @property
    def ema(self) -> Averages:
        """The moving averages of the parameters by name; needs ``ema_decay``."""
        if self._policy.ema_decay is None:
            raise AttributeError("ema: pass ema_decay=... at construction")
        return Averages(self)

    @property
    def step_count(self) -> int:
        """How many steps were made; each parameter has its own count in ``state[name]["step"]``."""
        return self._core.step_count

    def state_dict(self) -> dict[str, Any]:
        """State, averages, counters and the groups' options: a dict of numbers and copied arrays.

        A resumed run also needs what is not in it: the parameters (save them beside it, before the
        next step), schedules (their rate of the moment is saved, the new optimizer brings its own),
        the names of frozen parameters, and what holds for the whole optimizer and is given at
        construction (``skip_nonfinite``, ``ema_decay``, ``working_copy``, ...).
        """
        step_count, steps, copies = self._core.snapshot()
        arrays = iter(copies)
        return {
            "format": FORMAT,
            "rule": self.rule,
            "step_count": step_count,
            "groups": [
                {"params": list(g.params), **g, "lr": g.lr_at(step_count)} for g in self._groups
            ],
            "state": {
                name: {"step": step, **{state: next(arrays) for state in buffers}}
                for name, step, buffers in zip(self._index, steps, self._buffers, strict=True)
            },
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Continue from :meth:`state_dict`: state, counters and options, matched by name.

        A schedule stays in place (it is a function of the step count, which is loaded); a plain
        learning rate is loaded.

        Raises
        ------
        ValueError
            The dict is of another rule, other parameters, shapes, dtypes or groups. The message
            lists every difference, and nothing has changed.
        """
        load(self, state_dict)

    def __repr__(self) -> str:
        count = sum(math.prod(leaf.shape) for leaf in self._structure.leaves)
        head = f"{type(self).__name__}({len(self._index)} arrays, {count:,} parameters"
        if len(self._groups) > 1:
            lines = "".join(f",\n  {group!r}" for group in self._groups)
            return f"{head}, step {self.step_count}{lines})"
        options = ", ".join(f"{name}={value!r}" for name, value in self._groups[0].items())
        return f"{head}, step {self.step_count}, {options})"


def create(name: str, params: object, **options: Any) -> Optimizer:
    """Construct a rule by its name, in any case: ``create("adamw", params, lr=1e-3)``.

    Raises
    ------
    ValueError
        No rule has that name.
    """
    rule = str(name).lower()
    if rule not in registry:
        raise ValueError(f"rule: expected one of {', '.join(registry)}, got {name!r}")
    make: Callable[..., Optimizer] = registry[rule]
    return make(params, **options)


def available(pattern: str = "*") -> list[str]:
    """The names of the rules that match a shell pattern: ``available("adam*")``."""
    return [name for name in sorted(registry) if fnmatchcase(name, pattern)]
