"""Nested parameters: their names, their groups, and gradients of the same structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import GeneratorType
from typing import Any, NamedTuple

import numpy as np

from fusedstep._errors import ArrayChangedError
from fusedstep._holders import Spec, module_behind, replaced, spec_of_module
from fusedstep._messages import no_parameter, printable, shown

__all__ = ["Nest", "Tree", "split_groups"]


class Nest(NamedTuple):
    """What was handed over as the parameters of one group."""

    prefix: str  # of their names
    tree: object
    holder: object = None  # what else holds them: a torch module


_COMMON_BRANCHES = (list, tuple, dict, GeneratorType)


def _is_branch(tree: object) -> bool:
    return isinstance(tree, (list, tuple, Mapping))


def _kind(tree: object) -> str:
    if isinstance(tree, Mapping):
        return "a mapping"
    return "a list" if isinstance(tree, (list, tuple)) else type(tree).__name__


def _materialize(tree: object, what: str) -> object:
    """Convert an iterator to a list, and pairs as of ``named_parameters()`` to a dict."""
    if isinstance(tree, Iterator):
        tree = list(tree)
    if not (isinstance(tree, list) and tree and all(map(_is_named, tree))):
        return tree
    named = dict(tree)
    if len(named) < len(tree):
        twice = _first_duplicate(name for name, _ in tree)
        raise ValueError(f"{what}: expected every name once, got {shown(twice)} twice")
    return named


def _first_duplicate(names: Iterable[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _is_named(entry: object) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)


class Tree:
    """The structure of the parameters, from which gradients of the same structure are flattened.

    Mappings, lists and tuples are branches, everything else is a leaf; a leaf is named by its
    path (``encoder.0.w``). A single array is called ``param``. The structure is the tree's own:
    what becomes of the caller's lists and mappings does not change it.
    """

    def __init__(
        self, nests: Sequence[Nest] = (), *, what: str = "params", each: str = "parameter"
    ) -> None:
        """Take the nests; `what` and `each` are what messages call them and their arrays."""
        self._what, self._each = what, each
        self.names: list[str] = []
        self.leaves: list[Any] = []
        self.group_of: list[int] = []  # by default the number of the nest
        self.index: dict[str, int] = {}
        self.nests: list[range] = []  # the numbers of the parameters of each
        self._specs: list[tuple[str, Spec]] = []  # with the prefix of the names
        self._holders: list[tuple[Spec, object]] = []
        self._scalars: list[int] = []  # the parameters without axes
        self._add(nests)
        if nests and not self.names:
            raise ValueError(f"{what}: expected at least one array, got none")

    @classmethod
    def leaf(cls, array: object) -> Tree:
        """A tree of one leaf, even if it is a list or a mapping."""
        tree = cls([Nest("", None)])
        tree.leaves = [array]
        return tree

    def extended(self, nests: Sequence[Nest]) -> Tree:
        """The tree with more nests; parameters keep their numbers."""
        tree = Tree(what=self._what, each=self._each)
        tree.names = [*self.names]
        tree.leaves = [*self.leaves]
        tree.group_of = [*self.group_of]
        tree.index = self.index.copy()
        tree.nests = [*self.nests]
        tree._specs = [*self._specs]
        tree._holders = [*self._holders]
        tree._scalars = [*self._scalars]
        tree._add(nests)
        return tree

    def _add(self, nests: Sequence[Nest]) -> None:
        here, names, leaves = len(self.names), self.names, self.leaves
        for prefix, nest, holder in nests:
            first = len(names)
            spec = _describe(nest, prefix, names, leaves, self._what)
            numbers = range(first, len(names))
            self._specs.append((prefix, spec))
            if holder is None:
                self._holders.append((spec, nest))
            else:
                number_of = {id(leaves[i]): i for i in numbers}
                self._holders.append((spec_of_module(holder, number_of), holder))
            self.group_of += [len(self.nests)] * len(numbers)
            self.nests.append(numbers)
        self.index.update(zip(names[here:], range(here, len(names)), strict=True))
        if len(self.index) != len(names):
            twice = _first_duplicate(names)
            raise ValueError(f"{self._what}: expected every path once, got {shown(twice)} twice")
        self._scalars += [i for i in range(here, len(names)) if _has_no_axes(leaves[i])]
        self._by_key: dict[str, Spec] | None = None  # made when it is asked for
        first_spec = self._specs[0][1] if len(self._specs) == 1 else None
        self._in_order = isinstance(first_spec, list) and first_spec == [*range(len(names))]
        self._is_plain = self._in_order and not self._scalars

    def check_holders(self) -> None:
        """Raise ArrayChangedError where the caller's mapping, list or module has another array by now."""
        for spec, holder in self._holders:
            for i in replaced(spec, holder, self.leaves):
                name = self.names[i]
                raise ArrayChangedError(
                    f"parameter {shown(name)}: expected the array that the optimizer was given, got "
                    "another one in its place: write into the array instead of replacing it "
                    "(w[...] = new; torch: load_state_dict without assign=True), or construct a "
                    "new optimizer"
                )

    def flatten(self, tree: object, what: str = "gradients", *, scalars: bool = True) -> Any:
        """The leaves of a tree of this structure, in the order of `names`.

        Also of a list in that order, of a mapping by name, and of a list of one tree per group. A
        leaf that is None or missing is None in the result. NumPy scalars become arrays where
        parameters have no axes, unless `scalars` is False.
        """
        if self._is_plain and type(tree) is list and len(tree) > 1:  # the most frequent case
            return tree  # the core checks its length and its arrays
        flat = self._flatten(tree, what)
        return self._with_arrays(flat) if self._scalars and scalars else flat

    def _flatten(self, tree: object, what: str) -> Any:
        if isinstance(tree, (list, tuple)) and self._is_flat(tree):
            return tree
        if type(tree) is dict and len(tree) == len(self.names):
            with suppress(KeyError):  # every name, in any order
                return [tree[name] for name in self.names]
        tree = _materialize(tree, what)
        if isinstance(tree, Mapping):
            return self._by_name(tree, what)
        specs: list[Spec] = [spec for _, spec in self._specs]
        if isinstance(tree, (list, tuple)):
            if self._is_flat(tree):
                return tree
            if len(specs) == len(tree) == 1:  # the one group in a list, as several come
                tree = [_materialize(tree[0], what)]
                with suppress(TypeError, ValueError):
                    return self._filled(specs, tree, what)
        return self._filled(specs[0] if len(specs) == 1 else specs, tree, what)

    def _is_flat(self, grads: Sequence[object]) -> bool:
        """Whether these are to be the gradients themselves, one after the other."""
        if self._in_order:  # no abstract classes, which are slow
            return not (len(grads) == 1 and isinstance(grads[0], _COMMON_BRANCHES))
        if len(grads) != len(self.names):
            return False
        kinds = {*map(type, grads)}
        return not any(issubclass(kind, (list, tuple, Mapping, Iterator)) for kind in kinds)

    def _with_arrays(self, grads: Sequence[object]) -> Sequence[object]:
        """The gradients with arrays in place of NumPy scalars, as from ``error.sum()``."""
        found = [i for i in self._scalars if i < len(grads) and isinstance(grads[i], np.generic)]
        if not found:
            return grads
        arrays = [*grads]
        for i in found:
            arrays[i] = array = np.asarray(grads[i])
            array.flags.writeable = False  # the caller's scalar cannot be set to zero
        return arrays

    def _filled(self, spec: Spec, tree: object, what: str) -> list[Any]:
        leaves: list[Any] = [None] * len(self.names)
        _fill(spec, tree, what, leaves)
        return leaves

    def _by_name(self, tree: Mapping[str, object], what: str) -> list[Any]:
        """The leaves of a mapping whose keys are names, or the top of the structure."""
        leaves: list[Any] = [None] * len(self.names)
        index, branches = self.index, self._branches()
        if unknown := [key for key in tree if key not in index and key not in branches]:
            raise ValueError(f"{what}: {no_parameter(unknown, index, self._each)}")
        for key, branch in tree.items():
            if key in index and not (key in branches and _is_branch(branch)):
                leaves[index[key]] = branch
            else:
                _fill(branches[key], branch, f"{what}[{key!r}]", leaves)
        return leaves

    def _branches(self) -> Mapping[str, Spec]:
        """The branches at the top of all nests by their keys, which are the start of names."""
        if self._by_key is None:
            merged: dict[str, Spec] = {}
            for prefix, spec in self._specs:
                _merge(merged, {prefix: spec} if prefix else _keyed(spec))
            self._by_key = {key: spec for key, spec in merged.items() if not isinstance(spec, int)}
        return self._by_key


def _describe(tree: object, path: str, names: list[str], leaves: list[Any], what: str) -> Spec:
    """The structure of a nest, whose names and leaves are appended."""
    if isinstance(tree, np.ndarray):  # most are
        pass
    elif isinstance(tree, Mapping):
        for key in tree:
            if not isinstance(key, str):
                raise TypeError(
                    f"{what}: expected names (str) as keys of a mapping, got {shown(key)}"
                )
        below = f"{path}." if path else ""
        return {
            key: _describe(branch, f"{below}{key}", names, leaves, what)
            for key, branch in tree.items()
        }
    elif isinstance(tree, (list, tuple)):
        below = f"{path}." if path else ""
        return [
            _describe(branch, f"{below}{i}", names, leaves, what) for i, branch in enumerate(tree)
        ]
    names.append(path or "param")
    leaves.append(tree)
    return len(names) - 1


def _fill(spec: Spec, tree: object, path: str, leaves: list[Any]) -> None:
    """Put the leaves of a tree where the structure has them."""
    if tree is None:
        return
    if isinstance(spec, int):
        leaves[spec] = tree
    elif isinstance(spec, dict):
        tree = _materialize(tree, path)
        if not isinstance(tree, Mapping):
            raise TypeError(
                f"{printable(path)}: expected a mapping like the constructor's, got {_kind(tree)}"
            )
        if unknown := [key for key in tree if key not in spec]:
            raise ValueError(f"{printable(path)}: {no_parameter(unknown, spec, 'entry')}")
        for key, branch in tree.items():
            _fill(spec[key], branch, f"{path}[{key!r}]", leaves)
    else:
        tree = _materialize(tree, path)
        if not isinstance(tree, (list, tuple)):
            raise TypeError(
                f"{printable(path)}: expected a list like the constructor's, got {_kind(tree)}"
            )
        if len(tree) != len(spec):
            raise ValueError(f"{printable(path)}: expected {len(spec)} entries, got {len(tree)}")
        for i, branch in enumerate(tree):
            _fill(spec[i], branch, f"{path}[{i}]", leaves)


def _keyed(spec: Spec) -> dict[str, Spec]:
    """The branches of a structure by the start of the names that they lead to."""
    if isinstance(spec, int):
        return {}
    return spec if isinstance(spec, dict) else {str(i): branch for i, branch in enumerate(spec)}


def _merge(into: dict[str, Spec], spec: Mapping[str, Spec]) -> None:
    """Add the branches of another mapping; mappings that both have are merged too.

    A leaf hides no branch of the same key.
    """
    for key, branch in spec.items():
        present = into.get(key)
        if isinstance(present, dict) and isinstance(branch, dict):
            into[key] = merged = dict(present)
            _merge(merged, branch)
        elif present is None or isinstance(present, int):
            into[key] = branch


def _has_no_axes(leaf: object) -> bool:
    return isinstance(leaf, np.ndarray) and leaf.ndim == 0


def _is_option(value: object) -> bool:
    """Whether this is an option of a group rather than an array or a branch."""
    if isinstance(value, (list, tuple)):
        return len(value) > 0 and all(map(_is_option, value))
    return isinstance(value, (bool, int, float, str)) or callable(value)


def split_groups(params: object, first: int = 0) -> tuple[list[Nest], list[dict[str, Any]]]:
    """Split `params` into the nest and the options of each group.

    A list of mappings that each have a key ``params`` is a list of groups. Pairs of name and array,
    as from torch's ``named_parameters()``, are a mapping. The names in a group that is no mapping
    are prefixed with the group's number, counted from `first`.
    """
    module, params = module_behind(params), _materialize(params, "params")
    if isinstance(params, Mapping) and "params" in params and any(map(_is_option, params.values())):
        raise TypeError("params: one group: put it in a list, [{'params': ..., 'lr': ...}]")
    is_groups = (
        isinstance(params, (list, tuple))
        and len(params) > 0
        and all(isinstance(group, Mapping) and "params" in group for group in params)
    )
    if not is_groups:
        return [Nest("", params, module)], [{}]
    nests: list[Nest] = []
    options: list[dict[str, Any]] = []
    for i, group in enumerate(params, first):  # type: ignore[arg-type, var-annotated]
        own = dict(group)
        given = own.pop("params")
        module, tree = module_behind(given), _materialize(given, "params")
        nests.append(Nest("" if isinstance(tree, Mapping) else str(i), tree, module))
        options.append(own)
    return nests, options
