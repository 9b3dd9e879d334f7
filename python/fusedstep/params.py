"""How parameters are handed over: their structure, their names, their groups."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

__all__ = ["Structure", "split_groups"]

# A leaf is the number of a parameter; branches are what lists and mappings hold.
_Spec: TypeAlias = "int | list[_Spec] | dict[str, _Spec]"


def _kind(tree: object) -> str:
    if isinstance(tree, Mapping):
        return "a mapping"
    return "a list" if isinstance(tree, (list, tuple)) else type(tree).__name__


def _some(names: Iterable[str]) -> str:
    """The first of these names, for a message."""
    first = list(islice(names, 11))
    return ", ".join(first[:10]) + (", ..." if len(first) > 10 else "")


def _listed(tree: object, what: str) -> object:
    """An iterator as a list, and pairs of name and array (``named_parameters()``) as a mapping."""
    if isinstance(tree, Iterator):
        tree = list(tree)
    if not (isinstance(tree, list) and tree and all(map(_is_named, tree))):
        return tree
    named = dict(tree)
    if len(named) < len(tree):
        twice = next(name for name, _ in tree if [key for key, _ in tree].count(name) > 1)
        raise ValueError(f"{what}: expected every name once, got {twice!r} twice")
    return named


def _is_named(entry: object) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)


class Structure:
    """The nest that parameters came in, so that gradients can come in the same.

    Mappings, lists and tuples are branches, everything else is a leaf; a leaf is named by its
    path (``encoder.0.w``). One array alone is called ``param``.
    """

    def __init__(self, trees: list[tuple[str, object]]) -> None:
        """Take the parameters' trees, one a group, each with the path that its names start with."""
        self._trees = trees
        self.names: list[str] = []
        self.leaves: list[Any] = []
        self.group_of: list[int] = []
        self._specs: list[_Spec] = []
        for group, (path, tree) in enumerate(trees):
            self._specs.append(self._describe(tree, path))
            self.group_of += [group] * (len(self.names) - len(self.group_of))
        self.index = {name: i for i, name in enumerate(self.names)}
        if len(self.index) != len(self.names):
            twice = next(name for name in self.names if self.names.count(name) > 1)
            raise ValueError(f"params: expected every path once, got {twice!r} twice")
        if trees and not self.names:
            raise ValueError("params: expected at least one array, got none")
        self._root: _Spec = self._specs[0] if len(trees) == 1 else self._specs
        self._flat = isinstance(self._root, list) and self._root == list(range(len(self.names)))

    def extended(self, trees: list[tuple[str, object]]) -> Structure:
        """The structure with more groups; those that are here keep their numbers."""
        return Structure([*self._trees, *trees])

    def _describe(self, tree: object, path: str) -> _Spec:
        def below(key: object) -> str:
            return f"{path}.{key}" if path else str(key)

        if isinstance(tree, Mapping):
            for key in tree:
                if not isinstance(key, str):
                    raise TypeError(
                        f"params: expected names (str) as keys of a mapping, got {key!r}"
                    )
            return {key: self._describe(branch, below(key)) for key, branch in tree.items()}
        if isinstance(tree, (list, tuple)):
            return [self._describe(branch, below(i)) for i, branch in enumerate(tree)]
        self.names.append(path or "param")
        self.leaves.append(tree)
        return len(self.names) - 1

    def flatten(self, tree: object, what: str = "gradients") -> Any:
        """The leaves of a tree of this structure (or of a mapping by name), in the order of names.

        What is None or missing in a mapping is None in the result.
        """
        if self._flat and isinstance(tree, (list, tuple)):
            return tree  # its length is checked where its arrays are
        if type(tree) is dict and len(tree) == len(self.names):
            with suppress(KeyError):  # every name, in any order: no need to look at the keys
                return [tree[name] for name in self.names]
        leaves: list[Any] = [None] * len(self.names)
        tree = _listed(tree, what)
        if not isinstance(tree, Mapping):
            self._fill(self._root, tree, what, leaves)
        elif all(name in self.index for name in tree):
            for name, leaf in tree.items():
                leaves[self.index[name]] = leaf
        else:
            branches = self._root if isinstance(self._root, dict) else {}
            if unknown := [key for key in tree if key not in branches and key not in self.index]:
                raise ValueError(
                    f"{what}: no parameter is named {', '.join(map(repr, unknown))}; "
                    f"there are {_some(self.names)}"
                )
            self._fill(self._root, tree, what, leaves)
        return leaves

    def _fill(self, spec: _Spec, tree: object, path: str, leaves: list[Any]) -> None:
        if tree is None:
            return
        if isinstance(spec, int):
            leaves[spec] = tree
        elif isinstance(spec, dict):
            tree = _listed(tree, path)
            if not isinstance(tree, Mapping):
                raise TypeError(
                    f"{path}: expected a mapping like the parameters, got {_kind(tree)}"
                )
            if unknown := [key for key in tree if key not in spec]:
                raise ValueError(
                    f"{path}: there is no {', '.join(map(repr, unknown))}; there are {_some(spec)}"
                )
            for key, branch in tree.items():
                self._fill(spec[key], branch, f"{path}[{key!r}]", leaves)
        else:
            tree = _listed(tree, path)
            if not isinstance(tree, (list, tuple)):
                raise TypeError(f"{path}: expected a list like the parameters, got {_kind(tree)}")
            if len(tree) != len(spec):
                raise ValueError(f"{path}: expected {len(spec)} entries, got {len(tree)}")
            for i, branch in enumerate(tree):
                self._fill(spec[i], branch, f"{path}[{i}]", leaves)


def _is_option(value: object) -> bool:
    """Whether this is an option of a group and no array or branch."""
    if isinstance(value, tuple):
        return len(value) > 0 and all(map(_is_option, value))
    return isinstance(value, (bool, int, float, str)) or callable(value)


def split_groups(
    params: object, first: int = 0
) -> tuple[list[tuple[str, object]], list[dict[str, Any]]]:
    """Trees with the paths of their names, and the options that each group sets for itself.

    A list of mappings that each have a key ``params`` is a list of groups. Pairs of name and array,
    as of torch's ``named_parameters()``, are a mapping. Names within a group that is no mapping start
    with the group's number, counted from `first`.
    """
    params = _listed(params, "params")
    if isinstance(params, Mapping) and "params" in params and any(map(_is_option, params.values())):
        raise TypeError("params: one group: put it in a list, [{'params': ..., 'lr': ...}]")
    is_groups = (
        isinstance(params, (list, tuple))
        and len(params) > 0
        and all(isinstance(group, Mapping) and "params" in group for group in params)
    )
    if not is_groups:
        return [("", params)], [{}]
    trees: list[tuple[str, object]] = []
    options: list[dict[str, Any]] = []
    for i, group in enumerate(params, first):  # type: ignore[arg-type, var-annotated]
        own = dict(group)
        tree = _listed(own.pop("params"), "params")
        trees.append(("" if isinstance(tree, Mapping) else str(i), tree))
        options.append(own)
    return trees, options
