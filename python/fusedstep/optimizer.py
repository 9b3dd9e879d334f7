"""The base of every optimizer: parameters, groups, state, and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core
from fusedstep.averages import Averages
from fusedstep.copies import as_array, as_bits
from fusedstep.groups import Group
from fusedstep.options import Number, Option, Schedule, Switch, options_of
from fusedstep.params import Structure, split_groups
from fusedstep.pipeline import GROUP_OPTIONS, Policy, StepResult, check_grad_scale
from fusedstep.resume import FORMAT, load

__all__ = ["Optimizer", "available", "create"]

# Rules by their names, in the order of their definition.
registry: dict[str, type[Optimizer]] = {}


class _StateView(Mapping[str, dict[str, Any]]):
    """State by parameter name: ``step`` and NumPy views of the buffers."""

    def __init__(self, owner: Optimizer) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> dict[str, Any]:
        i = self._owner._index[name]
        return {"step": self._owner._core.steps_of(i), **self._owner._buffers[i]}

    def __iter__(self) -> Iterator[str]:
        return iter(self._owner._index)

    def __len__(self) -> int:
        return len(self._owner._index)

    def __repr__(self) -> str:
        buffers = {name: sorted(self._owner._buffers[i]) for name, i in self._owner._index.items()}
        return f"State({buffers})"


class Optimizer:
    """Updates arrays in place from their gradients; the rules derive from this.

    Every rule takes the arguments below, beside options of its own. Options of a rule, and the
    first two below, may be set group by group: ``{"params": ..., "lr": 0.1}``.

    Parameters
    ----------
    params
        The arrays to update: one array, a list or tuple, a mapping from names, any nesting of
        these, or a list of groups ``{"params": ..., "lr": ...}``. Arrays are NumPy's, or of a
        library that speaks DLPack on the CPU (torch); float32 or float64, writeable, contiguous
        (C or Fortran order), native byte order. They are never copied: what cannot be updated in
        place is refused.
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
    A step does, in this order and in one sweep (LAMB and LARS: two): unscale (``grad_scale``), look for NaN and
    infinity, clip by norm, clip by value, negate (``maximize``), add coupled ``weight_decay``, the
    rule with its decoupled decay, average, copy out, zero the gradients. Looking and measuring
    need a sweep over the gradients of their own, before. What nobody asks for costs nothing.
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

    def _construct(self, params: object, arguments: Mapping[str, Any]) -> None:
        """Construct from the arguments of a rule's constructor: its `locals()`."""
        given = {name: arguments[name] for name in self.options if name in arguments}
        given |= arguments["pipeline"]
        self._policy = policy = Policy.take(given)
        self._core = _core.Stepper(self.rule)
        self._core.set_policy(
            policy.skip_nonfinite,
            policy.error_if_nonfinite,
            policy.clip_per_group,
            policy.ema_decay or 0.0,
        )
        self._defaults = given
        self._structure = Structure([])
        self._index: dict[str, int] = {}
        self._groups: list[Group] = []
        self._buffers: list[dict[str, NDArray[Any]]] = []
        self._frozen: set[str] = set()
        self._pause = ""
        self._append(*split_groups(params), dict(policy.working_copy or {}))

    def _append(
        self,
        trees: list[tuple[str, object]],
        overrides: list[dict[str, Any]],
        copies: dict[str, object],
    ) -> None:
        """Take in groups, all or none."""
        structure = self._structure.extended(trees)
        here, before = len(self._structure.names), len(self._groups)
        names, group_of = structure.names[here:], structure.group_of[here:]
        if not names:
            raise ValueError("params: expected at least one array, came none")
        if unknown := [name for name in copies if name not in names]:
            raise ValueError(
                f"working_copy: expected names of parameters ({', '.join(names)}), "
                f"came {', '.join(map(repr, unknown))}"
            )
        try:
            groups = [
                Group(
                    type(self),
                    self._core,
                    [name for name, group in zip(names, group_of, strict=True) if group == i],
                    {**self._defaults, **own},
                )
                for i, own in enumerate(overrides, before)
            ]
            buffers = [own for group in groups for own in self._allocate(group, structure)]
            entries = []
            for i, (name, own) in enumerate(zip(names, buffers, strict=True), here):
                states = [array for state, array in own.items() if state != "ema"]
                copy = as_bits(copies.get(name))
                leaf, group = structure.leaves[i], structure.group_of[i]
                entries.append((name, leaf, states, group, own.get("ema"), copy))
            self._core.add(entries)
            for state in self.starts_at_parameter:
                for own, leaf in zip(buffers, structure.leaves[here:], strict=True):
                    np.copyto(own[state], as_array(leaf))
        except BaseException:
            self._core.drop_groups(before)
            raise
        self._structure, self._index = structure, structure.index
        self._groups += groups
        self._buffers += buffers

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
    def check_options(cls, given: Mapping[str, object]) -> dict[str, Any]:
        """The options as they will be used, or TypeError or ValueError.

        Options that are not given have their defaults.
        """
        if unknown := [name for name in given if name not in cls.options]:
            raise TypeError(
                f"{cls.__name__}: expected options among {', '.join(cls.options)}, "
                f"came {', '.join(map(repr, unknown))}"
            )
        values = {
            name: option.check(given.get(name, option.default))
            for name, option in cls.options.items()
        }
        cls._check_together(values)
        return values

    def _allocate(self, group: Group, structure: Structure) -> list[dict[str, NDArray[Any]]]:
        """The state buffers of every parameter of a group, and its average."""
        names = list(group.params)
        averages = ["ema"] if self._policy.ema_decay is not None else []
        states = [*group.state_names, *averages]
        leaves = [structure.leaves[structure.index[name]] for name in names]
        arrays = _core.zeros_in_phase("parameter", names, leaves, len(states))
        buffers = [dict(zip(states, own, strict=True)) for own in arrays]
        for state, value in self.initial_state(group).items():
            if value != 0.0:
                for own in buffers:
                    own[state].fill(value)
        if averages and not self._policy.ema_bias_correction:
            for own, leaf in zip(buffers, leaves, strict=True):
                np.copyto(own["ema"], as_array(leaf))
        return buffers

    def add_group(self, group: object, working_copy: object = None) -> None:
        """Take in more parameters: ``{"params": ..., "lr": ...}``, as at construction.

        Options that the group does not set have the values that were given at construction.
        Gradients then come as a list with one structure a group, or as a mapping by name. Bound
        gradients are let go of. All or nothing.
        """
        if not (isinstance(group, Mapping) and "params" in group):
            raise TypeError(f"group: expected a mapping with the key 'params', came {group!r}")
        copies = Policy.take({"working_copy": working_copy}).working_copy
        self._append(*split_groups([group], len(self._groups)), dict(copies or {}))

    def freeze(self, *names: str) -> None:
        """Leave these parameters, their state and counters untouched, whatever gradients come.

        They do not count in the norm. Without names: all.
        """
        self._set_frozen(names, True)

    def unfreeze(self, *names: str) -> None:
        """Let these parameters move again; without names, all."""
        self._set_frozen(names, False)

    def _set_frozen(self, names: tuple[str, ...], frozen: bool) -> None:
        if unknown := [name for name in names if name not in self._index]:
            raise ValueError(
                f"names: expected parameters ({', '.join(self._index)}), "
                f"came {', '.join(map(repr, unknown))}"
            )
        for name in names or self._index:
            self._core.freeze(self._index[name], frozen)
            (self._frozen.add if frozen else self._frozen.discard)(name)

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the frozen parameters."""
        return frozenset(self._frozen)

    def _begin(self) -> None:
        """What precedes every step: refuse it where it may not be, and follow the schedules."""
        if self._pause:
            raise RuntimeError(f"step: expected outside of the block, came while {self._pause}")
        for group in self._groups:
            if group.has_schedule:
                group.push()

    @contextmanager
    def _paused(self, why: str) -> Iterator[None]:
        if self._pause:
            raise RuntimeError(f"expected one block at a time, came while {self._pause}")
        self._pause = why
        try:
            yield
        finally:
            self._pause = ""

    # The step ----------------------------------------------------------------------------------

    def step(
        self, grads: object = None, *, grad_scale: float = 1.0, zero_grads: bool = False
    ) -> StepResult:
        """Update every parameter that has a gradient, in one sweep over memory.

        Parameters
        ----------
        grads
            Gradients in the structure of the parameters, or a mapping from parameter names; of the
            parameters' dtypes, shapes and memory order. Where one is None or missing, parameter,
            state and counter stay untouched; a gradient of zeros still moves them. They are read,
            never written. Without `grads`, those of :meth:`bind` are used.
        grad_scale
            Gradients are divided by it first (loss scaling, or the number of accumulated batches).
        zero_grads
            Set the gradients to zero in the same sweep. They must be writeable then, and must not
            share memory. A step that is not applied zeroes nothing.

        Returns
        -------
        StepResult
            ``applied``, and ``grad_norm`` where somebody asked for it.

        Raises
        ------
        TypeError, ValueError
            A gradient does not fit its parameter, or overlaps memory that the step writes.
        FloatingPointError
            A gradient holds NaN or infinity, with ``error_if_nonfinite``.
        RuntimeError
            Neither `grads` nor bound gradients, or a step is in progress in another thread.
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
        if grad_scale == 1.0 and zero_grads is False:
            return _result(self._core.step(flat))
        scale, zero = check_grad_scale(grad_scale), Switch().check("zero_grads", zero_grads)
        return _result(self._core.step(flat, scale, zero))

    def bind(self, grads: object) -> None:
        """Check `grads` once and use them for every :meth:`step` without arguments.

        The arrays are kept and read anew at each step: write the next gradients into them.
        ``bind(None)`` lets go of them.
        """
        self._core.bind(None if grads is None else self._structure.flatten(grads))

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
            raise ValueError(f"weights: expected a finite sum > 0, came {total}")
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
        scale, zero = check_grad_scale(scale), Switch().check("zero_grads", zero)
        self._begin()
        return _result(self._core.step_combined(sets, weights, divisor, scale, zero))

    def step_rows(
        self, name: str, indices: object, rows: object, *, grad_scale: float = 1.0
    ) -> StepResult:
        """Update some rows of one parameter, from the gradients of these rows alone.

        Parameters
        ----------
        name
            The parameter: an array of rows (its first axis) in C order.
        indices
            Which rows: a one-dimensional int32 or int64 array, in any order. Where a row comes
            several times, its gradients are added first, in the order given.
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
            raise ValueError(f"name: expected one of {', '.join(self._index)}, came {name!r}")
        self._begin()
        scale = check_grad_scale(grad_scale)
        return _result(self._core.step_rows(self._index[name], indices, rows, scale))

    def _gradient_sets(
        self, grad_sets: Iterable[object], weights: Iterable[float] | None
    ) -> tuple[list[Any], list[float]]:
        """Flatten the sets and check the weights."""
        sets = [
            self._structure.flatten(grads, f"grad_sets[{k}]") for k, grads in enumerate(grad_sets)
        ]
        if not sets:
            raise ValueError("grad_sets: expected at least one set, came none")
        given = [1.0] * len(sets) if weights is None else list(weights)
        if len(given) != len(sets):
            raise ValueError(
                f"weights: expected {len(sets)}, one a gradient set, came {len(given)}"
            )
        return sets, [Number().check(f"weights[{i}]", weight) for i, weight in enumerate(given)]

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
        for group in self._groups:
            group["lr"] = value

    @property
    def groups(self) -> tuple[Group, ...]:
        """The parameter groups; ``groups[0]["lr"] = 0.01`` sets an option."""
        return tuple(self._groups)

    @property
    def params(self) -> Mapping[str, Any]:
        """The parameters as they were handed over, by name."""
        return MappingProxyType(dict(zip(self._index, self._structure.leaves, strict=True)))

    @property
    def state(self) -> Mapping[str, dict[str, Any]]:
        """State by parameter name: ``state["w"]["exp_avg"]`` is a NumPy view of the live buffer."""
        return _StateView(self)

    @property
    def ema(self) -> Averages:
        """The moving averages of the parameters by name; there where ``ema_decay`` is."""
        if self._policy.ema_decay is None:
            raise AttributeError("ema: expected an optimizer with ema_decay, came one without")
        return Averages(self)

    @property
    def step_count(self) -> int:
        """How many steps were made; each parameter has its own count in ``state[name]["step"]``."""
        return self._core.step_count

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs, as a plain dict of numbers, strings and copied arrays."""
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
        count = sum(int(np.size(leaf)) for leaf in self._structure.leaves)
        head = f"{type(self).__name__}({len(self._index)} arrays, {count:,} parameters"
        if len(self._groups) > 1:
            lines = "".join(f",\n  {group!r}" for group in self._groups)
            return f"{head}, step {self.step_count}{lines})"
        options = ", ".join(f"{name}={value!r}" for name, value in self._groups[0].items())
        return f"{head}, step {self.step_count}, {options})"


_APPLIED = StepResult(applied=True, grad_norm=None)


def _result(outcome: tuple[bool, float] | None) -> StepResult:
    """What the core says of a step; None where there is nothing to say."""
    return _APPLIED if outcome is None else StepResult(*outcome)


def create(name: str, params: object, **options: Any) -> Optimizer:
    """Construct a rule by its name: ``create("adamw", params, lr=1e-3)``.

    Raises
    ------
    ValueError
        No rule has that name.
    """
    if name not in registry:
        raise ValueError(f"rule: expected one of {', '.join(registry)}, came {name!r}")
    make: Callable[..., Optimizer] = registry[name]
    return make(params, **options)


def available(pattern: str = "*") -> list[str]:
    """The names of the rules that match a shell pattern: ``available("adam*")``."""
    return [name for name in sorted(registry) if fnmatchcase(name, pattern)]
