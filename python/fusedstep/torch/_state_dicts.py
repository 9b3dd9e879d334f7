"""State dicts of torch.optim, to and from optimizers of the core."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from fusedstep import _formats
from fusedstep._checks import is_integer, require_keys
from fusedstep._definition import registry
from fusedstep._errors import CheckpointError
from fusedstep._group import Group
from fusedstep._messages import shown
from fusedstep._snapshot import Snapshot, misfit
from fusedstep._spaces.space import Kind
from fusedstep.optimizer import Optimizer
from fusedstep.torch._engine import plain
from fusedstep.torch._forms import as_numpy, widened
from fusedstep.torch._loading import COMPUTED, derived, steps_made
from fusedstep.torch._optimizer import REFUSED

__all__ = ["from_torch_state_dict", "to_torch_state_dict"]

# Options of the whole optimizer that change what steps do.
_POLICY = ("skip_nonfinite", "error_if_nonfinite", "ema_decay")
# Options that groups which older versions of torch have saved do without.
_LATER = ("maximize", "decoupled_weight_decay")
_NATIVE = {"float32": torch.float32, "float64": torch.float64}
_MOST_STEPS = 2**53  # of which a float64 has every one


class _Peer(NamedTuple):
    """The optimizer of torch.optim that follows the rule of one of the core."""

    name: str
    defaults: dict[str, Any]

    @classmethod
    def of(cls, opt: object) -> _Peer:
        if not isinstance(opt, Optimizer):
            raise TypeError(
                f"opt: expected an optimizer of the core, such as fs.Adam, got {shown(opt)} (those "
                "of fusedstep.torch have state_dict() and load_state_dict())"
            )
        name = registry[opt.rule].__name__
        peer = getattr(torch.optim, name, None)
        if peer is None:
            there_are = [own.__name__ for own in registry.values()]
            there_are = [one for one in there_are if hasattr(torch.optim, one)]
            raise ValueError(
                f"opt: expected a rule that torch.optim has too ({', '.join(there_are)}), "
                f"got {name}"
            )
        return cls(f"torch.optim.{name}", peer([torch.empty(0)]).defaults)

    @property
    def options(self) -> dict[str, Any]:
        """The options that say what a step computes, and not how, with their defaults."""
        return {name: value for name, value in self.defaults.items() if name not in REFUSED}


def to_torch_state_dict(opt: Optimizer) -> dict[str, Any]:
    """What ``state_dict()`` of the optimizer of the same name in ``torch.optim`` would return.

    Its ``load_state_dict`` takes it and goes on from there. Every number is carried over as it is;
    arrays are copied. Parameters are numbered in the order of the groups, and the groups have their
    names as ``param_names``. Of a schedule they have the rate of the next step.

    Parameters
    ----------
    opt
        An optimizer whose rule torch has too: Adam, AdamW, SGD, RMSprop, Adagrad, Adadelta, NAdam,
        RAdam, Adamax, ASGD or Rprop.

    Returns
    -------
    dict
        With the keys ``state`` and ``param_groups``.

    Raises
    ------
    TypeError
        `opt` is no optimizer of the core.
    ValueError
        torch has no such rule.
    CheckpointError
        torch has no counterpart of what the message lists, such as ``max_grad_norm``.

    Notes
    -----
    torch casts what it loads to the dtype of the parameters: beside bfloat16 and float16 ones it
    drops bits that the dict has.
    """
    peer = _Peer.of(opt)
    saved = opt._engine.snapshot()
    policy = {name: getattr(opt._setup.policy, name) for name in _POLICY}
    found = [f"{name}={value} has no counterpart" for name, value in policy.items() if value]
    state: dict[int, dict[str, Any]] = {}
    groups = []
    for k, group in enumerate(saved.groups):
        options = {name: value for name, value in group.items() if name != "params"}
        found += [
            f"group {k}: {name}={value!r} has no counterpart"
            for name, value in options.items()
            if name not in peer.defaults and value != opt.options[name].default
        ]
        first = len(state)
        for name in group["params"]:
            own = saved.state[name]
            if own["step"] > _MOST_STEPS:
                found.append(f"parameter {shown(name)}: step {own['step']} is no float64")
            arrays = {n: torch.from_numpy(value) for n, value in own.items() if n != "step"}
            counted = {"step": _counter(own["step"]), **arrays}
            state[len(state)] = {**counted, **derived(opt.rule, counted, options)}
        groups.append(
            {
                **{name: options.get(name, default) for name, default in peer.defaults.items()},
                "param_names": [*group["params"]],
                "params": [*range(first, len(state))],
            }
        )
    if found:
        what = f"this {type(opt).__name__} cannot be saved as {peer.name}"
        raise misfit(CheckpointError, what, found)
    return {"state": state, "param_groups": groups}


def from_torch_state_dict(opt: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Continue from the ``state_dict()`` of the optimizer of the same name in ``torch.optim``.

    State, counters and options are loaded as :meth:`fusedstep.Optimizer.load_state_dict` does it.
    Parameters are matched by name where the dict has names (``param_names``, or names as ``params``)
    and by their order in the groups where it has not. A parameter without state starts anew. What
    torch has no option for, as ``max_grad_norm``, stays as it is in `opt`, and so do schedules; how
    torch ran its steps (``foreach``, ``fused``, ``capturable``, ``differentiable``) does not matter.

    Parameters
    ----------
    opt
        As for :func:`to_torch_state_dict`. Moments beside bfloat16 and float16 parameters, which
        torch keeps in these, are widened.
    state_dict
        With the keys ``state`` and ``param_groups``; of a class of :mod:`fusedstep.torch` too.

    Raises
    ------
    TypeError
        `opt` is no optimizer of the core, or `state_dict` no mapping.
    ValueError
        torch has no such rule.
    CheckpointError
        The dict does not fit: the message lists the differences, and nothing has changed.

    Notes
    -----
    ``step_count``, which schedules follow, becomes the largest counter of a parameter. torch's SGD
    counts no steps: set them by :meth:`fusedstep.Optimizer.set_counters` where a schedule or
    ``ema_bias_correction`` needs them.
    """
    peer = _Peer.of(opt)
    require_keys(state_dict)
    found: list[str] = []
    snapshot = _read(opt, peer, state_dict.get("state"), state_dict.get("param_groups"), found)
    opt._engine.restore(snapshot, type(opt).__name__, CheckpointError, found)


def _counter(step: int) -> torch.Tensor:
    """A counter as torch has it, or in float64 where float32 does not have the number."""
    return torch.tensor(float(step), dtype=torch.float32 if step <= 2**24 else torch.float64)


# The functions below append to `found` what a snapshot cannot say.


def _read(opt: Optimizer, peer: _Peer, state: Any, saved_groups: Any, found: list[str]) -> Snapshot:
    """A state dict of torch as a snapshot, by the names of the parameters here."""
    groups, kinds = opt._engine.groups, opt._engine.expected().state
    if not isinstance(state, Mapping):
        found.append(f"state: expected a mapping, got {type(state).__name__}")
    if not isinstance(saved_groups, (list, tuple)):
        found.append(f"param_groups: expected a list, got {type(saved_groups).__name__}")
    elif len(saved_groups) != len(groups):
        found.append(f"param_groups: expected {len(groups)}, got {len(saved_groups)}")
    if found:
        raise misfit(CheckpointError, f"state_dict does not fit this {type(opt).__name__}", found)
    options: list[Any] = []
    by_name: dict[str, Any] = {}
    rest = dict(state)
    for k, (saved, group) in enumerate(zip(saved_groups, groups, strict=True)):
        what, names = f"group {k}", dict.fromkeys(group.params)
        if not isinstance(saved, Mapping):
            options.append(saved)
        else:
            numbers = _names(what, saved, group, found)
            names = {name: rest.pop(number, None) for number, name in numbers.items()}
            options.append({**_options(what, saved, group, peer, found), "params": [*names]})
        for name, own in names.items():
            by_name[name] = _entry(opt, group, name, own, kinds.get(name, {}), found)
    found += [f"state[{shown(number)}]: of no parameter" for number in rest]
    steps = [own.get("step", 0) for own in by_name.values() if isinstance(own, Mapping)]
    return Snapshot(opt.rule, max(steps, default=0), options, by_name)


def _names(
    what: str, saved: Mapping[str, Any], group: Group, found: list[str]
) -> Mapping[int | str, str]:
    """The names of a group's parameters by what torch calls them."""
    numbers: Any = saved.get("params")
    names: Any = saved.get("param_names")
    if not _is_list_of((int, str), numbers):
        found.append(f"{what}: expected the numbers of its params, got {shown(numbers)}")
        return dict(enumerate(group.params))
    if names is None and numbers and _is_list_of(str, numbers):
        names = numbers  # as torch.distributed.checkpoint has them
    if names is None:
        names = group.params
        if len(names) != len(numbers):
            found.append(f"{what}: expected {len(names)} parameters, got {len(numbers)}")
    elif not _is_list_of(str, names) or not len(numbers) == len(names) == len({*names}):
        found.append(f"{what}: expected {len(numbers)} names, got {shown(names)}")
        names = group.params
    return dict(zip(numbers, names, strict=False))


def _is_list_of(kind: type | tuple[type, ...], value: object) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(one, kind) for one in value)


def _options(
    what: str, saved: Mapping[str, Any], group: Group, peer: _Peer, found: list[str]
) -> dict[str, Any]:
    """The options of a group, as the rule here calls them."""
    known = {name for cls in registry.values() for name in cls.options}
    found += [
        f"{what}: option {shown(name)} unexpected, which {peer.name} does not have"
        for name in saved
        if name in known and name not in group and name not in peer.options
    ]
    for name, default in peer.options.items():
        if name not in group and shown(value := plain(saved.get(name, default))) != shown(default):
            found.append(
                f"{what}: {name}: expected {default} as in {peer.name}, got {shown(value)}"
            )
    own = {name: group[name] for name in group if name not in peer.options}
    later = {name: peer.options[name] for name in _LATER if name in peer.options}
    result = {**own, **later, **saved}
    return {name: plain(result[name]) for name in group if name in result}


def _entry(
    opt: Optimizer, group: Group, name: str, own: Any, kinds: Mapping[str, Kind], found: list[str]
) -> Any:
    """The state of a parameter; at its start where torch has made none."""
    own = {} if own is None else own
    if not isinstance(own, Mapping):
        return own
    given = {n: v for n, v in own.items() if v is not None and n not in COMPUTED}
    arrays = {n: _array(v, kinds.get(n)) for n, v in given.items() if n != "step"}
    if "step" not in given and arrays and opt.rule != "sgd":
        return arrays
    step = plain(given.get("step", 0))
    if isinstance(step, (float, np.floating)) and step.is_integer():
        step = int(step)
    if not is_integer(step):
        found.append(f"parameter {shown(name)}: step: expected an integer, got {shown(step)}")
        step = 0
    step = int(steps_made(opt.rule, int(step), kinds, arrays))
    if step == 0:
        arrays = {**_start(opt, group, kinds), **arrays}
    return {"step": step, **arrays}


def _start(opt: Optimizer, group: Group, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    """The state of a parameter that has made no step, but what starts as the code of a number.

    Averages and corrections, which start as the parameter, are not among it.
    """
    start = opt.initial_state(group)
    states = {*group.state_names, *map(_formats.scales_name, group.state_names)}
    return {
        name: np.full(kind.shape, value, kind.dtype)
        for name, kind in kinds.items()
        if name in states and ((value := start.get(name, 0.0)) == 0.0 or kind.dtype.name in _NATIVE)
    }


def _array(value: Any, kind: Kind | None) -> Any:
    """The numbers of a tensor, in the dtype that they have here where it holds them all."""
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return value
    if value.layout != torch.strided or value.is_meta:
        return value
    tensor = value.detach().cpu().resolve_conj().resolve_neg()
    if kind is not None and (dtype := _NATIVE.get(kind.dtype.name)):
        wide = widened(tensor, dtype)
        tensor = tensor if wide is None else wide
    return tensor.numpy() if tensor.dtype != torch.bfloat16 else as_numpy(tensor)
