"""Whether the caller's containers still hold the arrays that were handed over."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from types import GeneratorType
from typing import Any, TypeAlias

import numpy as np

from fusedstep._imported import imported

__all__ = ["Spec", "module_behind", "replaced", "spec_of_module"]

# A leaf is the number of a parameter; the branches are lists and mappings.
Spec: TypeAlias = "int | list[Spec] | dict[str, Spec]"


def replaced(spec: Spec, holder: object, leaves: Sequence[object]) -> Iterator[int]:
    """The numbers of the parameters in whose place `holder` has another array.

    `holder` is a nest of dicts, lists and torch modules, as `spec` describes it. An entry that is
    gone is no replacement, nor are those of a list of another length, whose places mean nothing.
    """
    if isinstance(spec, int):
        if not (holder is leaves[spec] or holder is None or _same_memory(holder, leaves[spec])):
            yield spec
    elif isinstance(spec, dict):
        entries = holder if isinstance(holder, dict) else _entries_of_module(holder)
        for key, branch in spec.items():
            entry = entries.get(key)
            if not (type(branch) is int and entry is leaves[branch]):  # which is all for most
                yield from replaced(branch, entry, leaves)
    elif isinstance(holder, (list, tuple)) and len(holder) == len(spec):
        for branch, entry in zip(spec, holder, strict=True):
            if not (type(branch) is int and entry is leaves[branch]):
                yield from replaced(branch, entry, leaves)


def _same_memory(array: Any, leaf: Any) -> bool:
    """Whether a step that writes `leaf` writes `array` as well."""
    return type(array) is type(leaf) and _place(array) == _place(leaf)


def _place(array: Any) -> object:
    if isinstance(array, np.ndarray):
        return array.ctypes.data, array.shape, array.strides, array.dtype
    if hasattr(array, "data_ptr"):  # torch
        return array.data_ptr(), array.shape, array.stride(), array.dtype
    shared = getattr(array, "__cuda_array_interface__", None)
    return id(array) if shared is None else shared


# torch's modules. torch is never imported here: unless the caller has, there are none.


def module_behind(iterator: object) -> object:
    """The torch module whose parameters a generator will yield; None where there is none.

    As of ``model.parameters()``, or ``(p for p in model.parameters() if p.requires_grad)``.
    """
    if isinstance(iterator, GeneratorType):
        for value in inspect.getgeneratorlocals(iterator).values():
            if _is_module(value):
                return value
            if found := module_behind(value):
                return found
    return None


def _is_module(thing: object) -> bool:
    return isinstance(thing, imported("torch.nn", "Module"))


def _entries_of_module(module: Any) -> Mapping[str, Any]:
    """The submodules and parameters of a torch module by name; of anything else, nothing."""
    return {**module._modules, **module._parameters} if _is_module(module) else {}


def spec_of_module(module: object, number_of: Mapping[int, int]) -> dict[str, Spec]:
    """Where a module has the parameters with these numbers by ``id``."""
    spec: dict[str, Spec] = {}
    for name, entry in _entries_of_module(module).items():
        if _is_module(entry):
            spec[name] = spec_of_module(entry, number_of)
        elif id(entry) in number_of:
            spec[name] = number_of[id(entry)]
    return spec
