"""The base of every optimizer: parameters, groups, state, and the step."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core
from fusedstep.groups import Group
from fusedstep.options import Number, Option, Schedule, options_of
from fusedstep.params import Structure, split_groups
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

    Parameters
    ----------
    params
        The arrays to update: one array, a list or tuple, a mapping from names, any nesting of
        these, or a list of groups ``{"params": ..., "lr": ...}``. Arrays are NumPy's, or of a
        library that speaks DLPack on the CPU (torch); float32 or float64, writeable, contiguous
        (C or Fortran order), native byte order. They are never copied: what cannot be updated in
        place is refused.
    defaults
        The options of the groups that do not set them.

    Raises
    ------
    TypeError
        A parameter is no array or not of floating point; an option is unknown.
    ValueError
        A parameter is read-only, not contiguous, misaligned, or overlaps another; an option is
        out of range.
    """

    rule: ClassVar[str] = ""
    options: ClassVar[Mapping[str, Option]] = MappingProxyType({})
    info: ClassVar[_core.RuleInfo]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "rule" in cls.__dict__:
            cls.options = MappingProxyType(options_of(cls.__init__))
            cls.info = _core.rules()[cls.rule]
            registry[cls.rule] = cls

    def __init__(self, params: object, defaults: Mapping[str, Any]) -> None:
        self._core = _core.Stepper(self.rule)
        trees, overrides = split_groups(params)
        self._structure = Structure(trees)
        names, group_of = self._structure.names, self._structure.group_of
        self._index = self._structure.index
        self._groups = [
            Group(
                type(self),
                self._core,
                [name for name, group in zip(names, group_of, strict=True) if group == i],
                {**defaults, **own},
            )
            for i, own in enumerate(overrides)
        ]
        self._buffers = self._allocate()
        self._core.add(
            [
                (name, leaf, list(buffers.values()), group)
                for name, leaf, buffers, group in zip(
                    names, self._structure.leaves, self._buffers, group_of, strict=True
                )
            ]
        )

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

    def _allocate(self) -> list[dict[str, NDArray[Any]]]:
        """The state buffers of every parameter."""
        result: list[dict[str, NDArray[Any]]] = []
        for group in self._groups:
            names = list(group.params)
            states = group.state_names
            leaves = [self._structure.leaves[self._index[name]] for name in names]
            arrays = _core.zeros_in_phase("parameter", names, leaves, len(states))
            buffers = [dict(zip(states, own, strict=True)) for own in arrays]
            for state, value in self.initial_state(group).items():
                if value != 0.0:
                    for own in buffers:
                        own[state].fill(value)
            result += buffers
        return result

    def _follow_schedules(self) -> None:
        for group in self._groups:
            if group.has_schedule:
                group.push()

    # The step ----------------------------------------------------------------------------------

    def step(self, grads: object = None) -> None:
        """Update every parameter that has a gradient, in one sweep over memory.

        Parameters
        ----------
        grads
            Gradients in the structure of the parameters, or a mapping from parameter names; of the
            parameters' dtypes, shapes and memory order. Where one is None or missing, parameter,
            state and counter stay untouched; a gradient of zeros still moves them. They are read,
            never written. Without `grads`, those of :meth:`bind` are used.

        Raises
        ------
        TypeError, ValueError
            A gradient does not fit its parameter, or overlaps memory that the step writes.
        RuntimeError
            Neither `grads` nor bound gradients, or a step is in progress in another thread.
        OverflowError
            A step counter is at 2**63 - 1.

        Notes
        -----
        All or nothing: every check comes before the first write. NaN and infinity in a gradient
        are numbers like others: they reach the elements at their position, and no other.
        """
        self._follow_schedules()
        self._core.step(None if grads is None else self._structure.flatten(grads))

    def bind(self, grads: object) -> None:
        """Check `grads` once and use them for every :meth:`step` without arguments.

        The arrays are kept and read anew at each step: write the next gradients into them.
        ``bind(None)`` lets go of them.
        """
        self._core.bind(None if grads is None else self._structure.flatten(grads))

    def step_mean(
        self, grad_sets: Iterable[object], weights: Iterable[float] | None = None
    ) -> None:
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
        """
        sets, numbers = self._gradient_sets(grad_sets, weights)
        total = sum(numbers)
        if total == 0.0 or not math.isfinite(total):
            raise ValueError(f"weights: expected a finite sum > 0, came {total}")
        self._follow_schedules()
        self._core.step_combined(sets, numbers, total)

    def step_sum(self, grad_sets: Iterable[object], weights: Iterable[float] | None = None) -> None:
        """Add several gradient sets and apply the sum: :meth:`step_mean` without the division."""
        sets, numbers = self._gradient_sets(grad_sets, weights)
        self._follow_schedules()
        self._core.step_combined(sets, numbers, 1.0)

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
        """The learning rate of the next step; set a number or a schedule for all groups."""
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
