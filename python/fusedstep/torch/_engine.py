"""From the groups and the state of a torch optimizer to an optimizer of the core, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from fusedstep import _core, _formats
from fusedstep._group import replace, set_rates
from fusedstep._rule import Rule
from fusedstep.optimizer import Optimizer
from fusedstep.torch._forms import DTYPES, Form, as_numpy, name_of, widened
from fusedstep.torch._loading import steps_made
from fusedstep.torch._shards import refuse_shards

__all__ = ["Engine", "plain"]

_COUNTER = "step"
Layouts = dict[str, str]


def plain(value: Any) -> Any:
    """A number of a group as the core takes it: torch allows tensors."""
    if isinstance(value, torch.Tensor):
        return value.item() if value.numel() == 1 else value
    if isinstance(value, (tuple, list)):
        return tuple(map(plain, value))
    return value


class _Group:
    """A group of which some parameters are stepped over."""

    def __init__(self, source: dict[str, Any], names: Sequence[str]) -> None:
        self.source = source
        self._names = tuple(names)  # of the options
        self.look()

    def look(self) -> None:
        """Remember the values of the options."""
        values = self._values()
        self.seen = plain(values)
        # Tensors may be written to, and lists: they are looked into at each step.
        self._is_plain = not _has_tensor(values) and self.seen == values

    def _values(self) -> tuple[Any, ...]:
        source = self.source
        return tuple([source[name] for name in self._names])

    def has_changed(self) -> bool:
        """Whether an option has another value than it had."""
        now = self._values()
        return bool((now if self._is_plain else plain(now)) != self.seen)

    def changes(self) -> dict[str, Any]:
        """The options that have other values than they had."""
        now = zip(self._names, plain(self._values()), self.seen, strict=True)
        return {name: new for name, new, old in now if new != old}


class Engine:
    """An optimizer of the core over those parameters that have had a gradient.

    The arrays that it updates are the tensors in the state, which it makes where there are none.
    """

    form_class: ClassVar[type[Form]] = Form

    def __init__(
        self,
        cls: type[Optimizer],
        policy: Mapping[str, Any],
        groups: Sequence[dict[str, Any]],
        state: Any,
        wanted: Sequence[bool],
    ) -> None:
        """Take the parameters of the groups that are `wanted`, or have state."""
        rule = cls.definition
        refuse_shards(rule, policy, groups)
        self.params: list[torch.Tensor] = []  # of all groups
        self.numbers: list[int] = []  # of those that are stepped over
        self.waiting: list[int] = []  # of those that are not yet
        self.forms: list[Form] = []
        self.groups: list[_Group] = []
        nests: list[dict[str, Any]] = []
        held: dict[str, dict[str, Any]] = {}
        layouts: list[Layouts] = []
        counters: list[float] = []
        for k, group in enumerate(groups):
            options = {name: plain(group[name]) for name in rule.options}
            values = rule.check(options)
            own: dict[str, Any] = {}
            for i, param in enumerate(group["params"]):
                number = len(self.params)
                self.params.append(param)
                entry = state.get(param)
                if not (wanted[number] or entry):
                    self.waiting.append(number)
                    continue
                name = name_of(group, k, i)
                form = self.form_class.of(param)
                own[name] = form.array
                self.numbers.append(number)
                self.forms.append(form)
                layouts.append(_layouts(rule, values, policy, form))
                arrays, steps = _held(rule, name, form, layouts[-1], entry or {})
                held[name] = arrays
                counters.append(steps)
            if own:
                self.groups.append(_Group(group, [*rule.options]))
                nests.append({"params": own, **options})
        self.inner = cls.__new__(cls)
        # The options of the first group stand for the optimizer's: each group sets its own.
        self.inner._construct(nests, {**nests[0], "pipeline": {**policy, "state": held}})
        self.core = self.inner._engine.core
        self.tensors = self.inner._engine.tensors
        self.steps = np.array(counters, np.float32)
        self.is_plain = all(form.is_plain for form in self.forms)
        self.set_counters()
        self._write_state(state, layouts)
        self.seen = [(entry, tuple(entry.values())) for entry in state.values()]

    def _write_state(self, state: Any, layouts: Sequence[Layouts]) -> None:
        """Put the tensors of the engine's arrays into the state."""
        counters = torch.from_numpy(self.steps)
        buffers = self.inner._engine.buffers
        for form, own, layout, counter in zip(
            self.forms, buffers, layouts, counters.unbind(), strict=True
        ):
            entry = state[form.param]
            made = {}
            for name, array in own.items():
                present = entry.get(name)
                is_there = present is not None and present.data_ptr() == array.ctypes.data
                made[name] = present if is_there else form.state(array, layout[name])
            made = {_COUNTER: counter} | made
            others = {name: value for name, value in entry.items() if name not in made}
            entry.clear()
            entry.update(made | others)

    def gradients(self, groups: list[Any], state: dict[Any, Any]) -> list[Any] | None:
        """The gradients of the next step; None where the engine must be made anew for it."""
        grads: list[Any] | None = _core.gradients_of(groups, state, self.params, self.seen)
        if grads is None or not self._follows():
            return None
        if self.waiting:
            if any(grads[i] is not None for i in self.waiting):
                return None
            return [grads[i] for i in self.numbers]
        return grads

    def _follows(self) -> bool:
        """Take what has changed in groups and counters; False where the engine cannot."""
        if not (self.is_plain or all(form.is_where_it_was for form in self.forms)):
            return False
        if self._counted != self.steps.tobytes():
            self.set_counters()
        for group in self.groups:  # not any(), whose generator costs more than the rest
            if group.has_changed():
                return self._follow_groups()
        return True

    def _follow_groups(self) -> bool:
        """Take the options of the groups; False where they need other state."""
        inner, all_values, is_rate_alone = self.inner._engine.groups, [], True
        for group, own in zip(self.groups, inner, strict=True):
            rule, changes = own._rule, group.changes()
            # Of a rule whose state started from the rate, too: schedulers set it.
            rate = rule.options["lr"].check(changes.pop("lr", own["lr"]))
            values = rule.changed(dict(own), changes)
            if (
                rule.states(values) != own.state_names
                or rule.initial_state(values) != rule.initial_state(own)
                or not changes.keys().isdisjoint(_formats.STORAGE_OPTIONS)
                or ("max_grad_norm" in changes and not self.is_plain)  # shards cannot have it
            ):
                return False
            all_values.append({**own.check_update(changes), "lr": rate})
            is_rate_alone = is_rate_alone and not changes
        if is_rate_alone:
            set_rates(inner, [values["lr"] for values in all_values])
        else:
            replace(inner, all_values, self.core.set_groups)
        for group in self.groups:
            group.look()
        return True

    def set_counters(self) -> None:
        """Give the core the counters of the state."""
        steps = [int(step) for step in self.steps]
        self.core.set_counters(max(steps, default=0), steps)
        self._counted = self.steps.tobytes()

    def counted(self, grads: Sequence[Any], has_none: bool) -> None:
        """Count a step with these gradients."""
        if has_none:
            self.steps += np.fromiter((grad is not None for grad in grads), bool, len(grads))
        else:
            self.steps += 1.0
        self._counted = self.steps.tobytes()


def _has_tensor(values: Sequence[Any]) -> bool:
    return any(
        isinstance(one, torch.Tensor)
        for value in values
        for one in (value if isinstance(value, (tuple, list)) else (value,))
    )


def _layouts(
    rule: Rule, values: Mapping[str, Any], policy: Mapping[str, Any], form: Form
) -> Layouts:
    """How each array beside the parameter is stored."""
    own_format = str(form.array.dtype).removeprefix("torch.")
    return _formats.layouts(
        values,
        rule.contents(values),
        own_format,
        form.array.numel(),
        average=policy.get("ema_decay") is not None,
    )


def _held(
    rule: Rule, name: str, form: Form, layouts: Layouts, entry: Mapping[str, Any]
) -> tuple[dict[str, NDArray[Any]], float]:
    """The arrays that the state of a parameter holds already, and its counter."""
    native = torch.float64 if form.array.dtype == torch.float64 else torch.float32
    result = {}
    for own, layout in layouts.items():
        value = entry.get(own)
        if value is None:
            continue
        if not isinstance(value, torch.Tensor):
            raise TypeError(
                f"state {own!r} of {name!r}: expected a tensor, got {type(value).__name__}"
            )
        result[own] = _as_array(
            form.held(value), DTYPES.get(layout, native), form, f"state {own!r} of {name!r}"
        )
    steps = float(plain(entry.get(_COUNTER, 0)) or 0)
    return result, steps_made(rule.name, steps, layouts, result)


def _as_array(tensor: torch.Tensor, dtype: torch.dtype, form: Form, what: str) -> NDArray[Any]:
    """The tensor's memory where it is as the core needs it, or else a copy that loses nothing."""
    wide, like = widened(tensor, dtype), form.array
    if wide is None:
        raise ValueError(f"{what}: expected {dtype}, got {tensor.dtype}, which it cannot hold")
    if wide.shape == like.shape and wide.stride() != like.stride():
        wide = torch.empty_like(like, dtype=dtype).copy_(wide)
    return as_numpy(wide)
