"""Nested parameters: their names, their groups, and gradients of the same structure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, TypeAlias

__all__ = ["Tree", "split_groups"]

# A leaf is the number of a parameter; the branches are lists and mappings.
_Spec: TypeAlias = "int | list[_Spec] | dict[str, _Spec]"


def _kind(tree: object) -> str:
    if isinstance(tree, Mapping):
        return "a mapping"
    return "a list" if isinstance(tree, (list, tuple)) else type(tree).__name__


def _some(names: Iterable[str]) -> str:
    """The first ten of these names, for a message."""
    first = list(islice(names, 11))
    return ", ".join(first[:10]) + (", ..." if len(first) > 10 else "")


def _materialize(tree: object, what: str) -> object:
    """Convert an iterator to a list, and pairs as of ``named_parameters()`` to a dict."""
    if isinstance(tree, Iterator):
        tree = list(tree)
    if not (isinstance(tree, list) and tree and all(map(_is_named, tree))):
        return tree
    named = dict(tree)
    if len(named) < len(tree):
        twice = _first_duplicate(name for name, _ in tree)
        raise ValueError(f"{what}: expected every name once, got {twice!r} twice")
    return named


def _first_duplicate(names: Iterable[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def _is_named(entry: object) -> bool:
    return isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], str)


class Tree:
    """The structure of the parameters, from which gradients of the same structure are flattened.

    Mappings, lists and tuples are branches, everything else is a leaf; a leaf is named by its
    path (``encoder.0.w``). A single array is called ``param``.
    """

    def __init__(self, trees: Sequence[tuple[str, object]] = ()) -> None:
        """Take one tree per group, each with the prefix of its names."""
        self._trees = [*trees]
        self.names: list[str] = []
        self.leaves: list[Any] = []
        self.group_of: list[int] = []
        specs: list[_Spec] = []
        for group, (path, tree) in enumerate(trees):
            specs.append(self._describe(tree, path))
            self.group_of += [group] * (len(self.names) - len(self.group_of))
        self.index = {name: i for i, name in enumerate(self.names)}
        if len(self.index) != len(self.names):
            twice = _first_duplicate(self.names)
            raise ValueError(f"params: expected every path once, got {twice!r} twice")
        if trees and not self.names:
            raise ValueError("params: expected at least one array, got none")
        self._root: _Spec = specs[0] if len(trees) == 1 else specs
        self._flat = isinstance(self._root, list) and self._root == list(range(len(self.names)))

    @classmethod
    def leaf(cls, array: object) -> Tree:
        """A tree of one leaf, even if it is a list or a mapping."""
        tree = cls([("", None)])
        tree.leaves = [array]
        return tree

    def extended(self, trees: Sequence[tuple[str, object]]) -> Tree:
        """The tree with more groups; parameters keep their numbers."""
        return Tree([*self._trees, *trees])

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
        """The leaves of a tree of this structure, or of a mapping by name, in the order of `names`.

        A leaf that is None or missing is None in the result.
        """
        if self._flat and isinstance(tree, (list, tuple)):
            return tree  # the core checks its length and its arrays
        if type(tree) is dict and len(tree) == len(self.names):
            with suppress(KeyError):  # every name, in any order
                return [tree[name] for name in self.names]
        leaves: list[Any] = [None] * len(self.names)
        tree = _materialize(tree, what)
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
            tree = _materialize(tree, path)
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
            tree = _materialize(tree, path)
            if not isinstance(tree, (list, tuple)):
                raise TypeError(f"{path}: expected a list like the parameters, got {_kind(tree)}")
            if len(tree) != len(spec):
                raise ValueError(f"{path}: expected {len(spec)} entries, got {len(tree)}")
            for i, branch in enumerate(tree):
                self._fill(spec[i], branch, f"{path}[{i}]", leaves)


def _is_option(value: object) -> bool:
    """Whether this is an option of a group rather than an array or a branch."""
    if isinstance(value, tuple):
        return len(value) > 0 and all(map(_is_option, value))
    return isinstance(value, (bool, int, float, str)) or callable(value)


def split_groups(
    params: object, first: int = 0
) -> tuple[list[tuple[str, object]], list[dict[str, Any]]]:
    """Split `params` into a tree with a name prefix, and the options, of each group.

    A list of mappings that each have a key ``params`` is a list of groups. Pairs of name and array,
    as from torch's ``named_parameters()``, are a mapping. The names in a group that is no mapping
    are prefixed with the group's number, counted from `first`.
    """
    params = _materialize(params, "params")
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
        tree = _materialize(own.pop("params"), "params")
        trees.append(("" if isinstance(tree, Mapping) else str(i), tree))
        options.append(own)
    return trees, options
