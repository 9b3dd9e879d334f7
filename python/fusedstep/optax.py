"""State of optax's optimizers, to and from optimizers of the core.

>>> import jax.numpy as jnp, numpy as np, optax
>>> import fusedstep as fs, fusedstep.optax
>>> params = {"w": np.ones(3, np.float32)}
>>> opt = fs.Adam(params, lr=0.1)
>>> _ = opt.step({"w": np.ones(3, np.float32)})
>>> state = optax.adam(0.1).init({"w": jnp.asarray(params["w"])})
>>> state = fusedstep.optax.to_optax_state(opt, state)  # optax goes on from here
>>> fusedstep.optax.from_optax_state(opt, state)  # and opt from there

It is not imported with fusedstep, and needs optax.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax.tree_util import keystr, tree_flatten_with_path, tree_structure, tree_unflatten

from fusedstep._checks import is_integer
from fusedstep._errors import CheckpointError
from fusedstep._messages import shown
from fusedstep._snapshot import Snapshot, misfit
from fusedstep._spaces.space import Kind
from fusedstep.optimizer import Optimizer

__all__ = ["from_optax_state", "to_optax_state"]


class _Form(NamedTuple):
    """What optax keeps for a rule: a state, and what its trees are called here."""

    state: type[Any]
    trees: Mapping[str, str]


_ADAM = _Form(optax.ScaleByAdamState, {"mu": "exp_avg", "nu": "exp_avg_sq"})
_SGD = _Form(optax.TraceState, {"trace": "momentum_buffer"})
_FORMS = {"adam": _ADAM, "adamw": _ADAM, "sgd": _SGD}
_STATES = (_ADAM.state, _SGD.state)


def to_optax_state(opt: Optimizer, state: Any) -> Any:
    """A state of optax from which its optimizer goes on as `opt` would.

    Every number is carried over as it is; arrays are copied. ``mu``, ``nu`` and ``trace`` are trees
    of the structure of the parameters, whose paths are the names of the parameters here
    (``{"encoder": [{"w": ...}]}``: ``encoder.0.w``). ``count`` becomes the counter of the parameters,
    or in a schedule's state ``opt.step_count``.

    Parameters
    ----------
    opt
        Adam, AdamW or SGD.
    state
        A state of the optimizer that is to go on, such as ``optax.adam(0.1).init(params)``, which
        may be within a chain, masked or in parts. It is not changed.

    Returns
    -------
    pytree
        Of the structure of `state`. Options, learning rates among them, are not in it: give them to
        optax; what ``optax.inject_hyperparams`` has in `state` stays as it is.

    Raises
    ------
    TypeError
        `opt` is no optimizer of the core.
    ValueError
        optax has no such rule.
    CheckpointError
        `state` has other parameters, shapes or dtypes, or something that `opt` has not, or the
        reverse, such as AMSGrad's maximum: the message lists the differences.
    """
    form, found = _form_of(opt), list[str]()
    saved = opt._engine.snapshot()
    if form is _SGD and any(group["dampening"] for group in saved.groups):
        found.append("dampening: optax has none")
    slots = _slots(form, state, found)
    has = {(name, slot.what) for slot in slots for name in slot.names}
    for name, own in saved.state.items():
        arrays = [array for array in own if array != "step" and (name, array) not in has]
        found += [f"parameter {shown(name)}: state {shown(array)} unexpected" for array in arrays]
    filled = [_filled(slot, saved, found) for slot in slots]
    if found:
        raise misfit(CheckpointError, f"this {type(opt).__name__} does not fit the state", found)
    return tree_unflatten(tree_structure(state), filled)


def from_optax_state(opt: Optimizer, state: Any) -> None:
    """Continue from a state of optax's Adam or SGD.

    The moments and counters are loaded; options stay as they are in `opt`, since optax does not keep
    them in its state.

    Parameters
    ----------
    opt
        As for :func:`to_optax_state`. bfloat16 moments beside float32 state are widened.
    state
        As for :func:`to_optax_state`.

    Raises
    ------
    TypeError
        `opt` is no optimizer of the core.
    ValueError
        optax has no such rule.
    CheckpointError
        `state` has other parameters, shapes or dtypes, or something that `opt` has not: the message
        lists the differences, and nothing has changed.

    Notes
    -----
    ``step_count`` becomes the count of a schedule, where `state` has one, or else that of Adam.
    optax's SGD without a schedule counts nothing: the counters stay as they are, but that a trace
    that is not 0 is of one step at least.
    """
    form, found = _form_of(opt), list[str]()
    snapshot = _read(opt, form, state, found)
    opt._engine.restore(snapshot, type(opt).__name__, CheckpointError, found)


def _form_of(opt: object) -> _Form:
    if not isinstance(opt, Optimizer):
        raise TypeError(
            f"opt: expected an optimizer of the core, such as fs.Adam, got {shown(opt)}"
        )
    if opt.rule not in _FORMS:
        raise ValueError(f"opt: expected Adam, AdamW or SGD, got {type(opt).__name__}")
    return _FORMS[opt.rule]


class _Slot(NamedTuple):
    """A leaf of a state of optax, and what of an optimizer belongs there."""

    place: str
    leaf: Any
    what: str  # "step", an array beside a parameter, "step_count"; or "" for what is left alone
    names: tuple[str, ...] = ()  # of the parameters


# The functions below append the differences that they find to `found`.


def _slots(form: _Form, state: Any, found: list[str]) -> list[_Slot]:
    """The leaves of a state in their order."""
    slots = []
    parts, _ = tree_flatten_with_path(state, is_leaf=lambda it: isinstance(it, _STATES))
    for path, part in parts:
        place = f"state{keystr(path)}"
        if isinstance(part, form.state):
            slots += _slots_of(form, place, part)
        elif place.endswith(".count"):  # of a schedule
            slots.append(_Slot(place, part, "step_count"))
        else:
            slots.append(_Slot(place, part, ""))
            if ".hyperparams" not in place:  # of optax.inject_hyperparams
                expected = f"the states of {form.state.__name__} and of schedules alone"
                found.append(f"{place}: expected {expected}, got {shown(part)}")
    return slots


def _slots_of(form: _Form, place: str, part: Any) -> list[_Slot]:
    """The leaves of a state of the rule."""
    slots = []
    for (field, *path), leaf in tree_flatten_with_path(part)[0]:
        name = keystr(tuple(path), simple=True, separator=".") or "param"
        array = form.trees.get(field.name, "step")
        slots.append(_Slot(f"{place}{keystr((field, *path))}", leaf, array, (name,)))
    names = tuple(dict.fromkeys(slot.names[0] for slot in slots if slot.what != "step"))
    return [slot._replace(names=names) if slot.what == "step" else slot for slot in slots]


def _filled(slot: _Slot, saved: Snapshot, found: list[str]) -> Any:
    """What belongs into a slot, as an array of JAX."""
    if slot.what == "step_count":
        return _like(slot, saved.step_count, found)
    unknown = [name for name in slot.names if slot.what not in saved.state.get(name, {})]
    if unknown and slot.what != "step":
        found.append(f"{slot.place}: expected no {slot.what} of {shown(unknown[0])}")
    if unknown or not slot.names:
        return slot.leaf
    values = [saved.state[name][slot.what] for name in slot.names]
    if slot.what == "step" and len({*values}) > 1:
        steps = f"{min(values)} to {max(values)}"
        found.append(f"{slot.place}: expected parameters with as many steps, got {steps}")
    return _like(slot, values[0], found)


def _like(slot: _Slot, value: Any, found: list[str]) -> Any:
    """An array of JAX with these numbers, where the slot has an array of this dtype and shape."""
    dtype, shape = np.dtype(getattr(slot.leaf, "dtype", "O")), getattr(slot.leaf, "shape", None)
    if isinstance(value, int):
        value = np.asarray(value, np.int32 if value < 2**31 else np.int64)
    if dtype.name == "bfloat16" and value.dtype == np.uint16:
        value = value.view(dtype)  # which are its bits
    if value.dtype != dtype or value.shape != shape:
        found.append(f"{slot.place}: expected {value.dtype}, {value.shape}, got {dtype}, {shape}")
        return slot.leaf
    is_placed = getattr(slot.leaf, "committed", False)
    made = jax.device_put(value, slot.leaf.sharding if is_placed else None)
    if made.dtype != dtype:
        found.append(f"{slot.place}: expected jax_enable_x64 to be set, since it is {dtype}")
    return made


def _read(opt: Optimizer, form: _Form, state: Any, found: list[str]) -> Snapshot:
    """A state of optax as a snapshot, with the options as they are now."""
    engine = opt._engine
    now, kinds = engine.hold(lambda it: it), engine.expected().state
    by_name: dict[str, dict[str, Any]] = {}
    counts: list[Any] = []  # of schedules
    for slot in _slots(form, state, found):
        if slot.what == "step_count":
            counts.append(_number(slot.leaf))
            if not np.array_equal(counts[0], counts[-1]):
                expected, got = shown(counts[0]), shown(counts[-1])
                found.append(f"{slot.place}: expected {expected} steps as before, got {got}")
        for name in slot.names:
            own = by_name.setdefault(name, {})
            if slot.what in own:
                found.append(f"{slot.place}: expected {shown(name)} once, got it twice")
            own[slot.what] = _array(slot.leaf, kinds.get(name, {}).get(slot.what))
    if form is _SGD:
        steps = {name: counts[0] if counts else own["step"] for name, own in now.state.items()}
        by_name = {**{name: {} for name in now.state if not kinds[name]}, **by_name}
        by_name = {name: _counted(steps.get(name, 0), own) for name, own in by_name.items()}
        step_count = now.step_count
    else:
        numbers = [int(own["step"]) for own in by_name.values() if is_integer(own["step"])]
        step_count = max(numbers, default=0)
    return replace(now, step_count=counts[0] if counts else step_count, state=by_name)


def _counted(steps: Any, arrays: Mapping[str, Any]) -> dict[str, Any]:
    """A parameter's state, of one step at least where it has moved, since SGD's first is another."""
    has_moved = any(np.any(array) for array in arrays.values())
    return {"step": 1 if has_moved and is_integer(steps) and steps == 0 else steps, **arrays}


def _number(leaf: Any) -> Any:
    """A counter as Python's own number, where it is one."""
    value = np.asarray(leaf)
    return value.item() if value.ndim == 0 else value


def _array(leaf: Any, kind: Kind | None) -> Any:
    """The numbers of an array of JAX, in the dtype that they have here where it holds them all."""
    value = np.asarray(leaf)
    if kind is None:  # a counter, or of no parameter here
        return _number(leaf)
    if value.dtype.name == "bfloat16" and kind.dtype == np.uint16:
        return value.view(np.uint16)  # which are its bits
    is_wider = kind.dtype.kind == "f" and np.can_cast(value.dtype, kind.dtype)
    return value.astype(kind.dtype, copy=False) if is_wider else value
