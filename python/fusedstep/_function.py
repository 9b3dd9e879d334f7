"""A rule as a function of arrays: what :mod:`fusedstep.functional` has."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

from fusedstep._autograd import note_written, tensors_among
from fusedstep._checks import as_integer, is_integer
from fusedstep._docstring import of_function
from fusedstep._engine import Engine
from fusedstep._formats import STORAGE_OPTIONS
from fusedstep._messages import listed, shown
from fusedstep._snapshot import MAX_STEP
from fusedstep._spaces.choose import space_of
from fusedstep._tree import Nest, Tree
from fusedstep.optimizer import Optimizer

if TYPE_CHECKING:
    from fusedstep.typing import Array

__all__ = ["RuleFunction"]


class RuleFunction:
    """One rule as a function of arrays."""

    def __init__(self, cls: type[Optimizer]) -> None:
        self._rule = cls.definition
        options = [o for o in cls.options.values() if o.name not in STORAGE_OPTIONS]
        self.__name__: str = cls.rule
        self.__qualname__ = cls.rule
        if cls.__doc__:  # None under python -OO
            first = f"One update by {cls.__name__}, in place, of `param` and `states`."
            self.__doc__ = f"{first}\n\n{of_function(cls.__doc__, options)}"
        kind = inspect.Parameter
        self.__signature__: inspect.Signature = inspect.Signature(
            [
                kind("param", kind.POSITIONAL_ONLY),
                kind("grad", kind.POSITIONAL_ONLY),
                kind("states", kind.VAR_POSITIONAL),
                kind("step", kind.KEYWORD_ONLY, annotation=int),
                *(
                    kind(option.name, kind.KEYWORD_ONLY, default=option.default)
                    for option in options
                ),
            ]
        )

    def __call__(
        self,
        param: Array | Sequence[Array],
        grad: Array | Sequence[Array],
        /,
        *states: Array | Sequence[Array],
        step: int | Sequence[int],
        **options: Any,
    ) -> None:
        """Update in place, one array or lists of them; raises what the class's constructor and step raise."""
        rule = self._rule
        if named := [name for name in options if name in rule.info.states[-1]]:
            raise TypeError(
                f"{rule.name}: expected states by position, {rule.name}(param, grad, "
                f"*states, step=...), got {listed(named, '{}='.format)}"
            )
        for name, option in STORAGE_OPTIONS.items():
            if option.check(options.get(name, option.default)) != option.default:
                raise TypeError(
                    f"{name}: expected {option.default!r} in a function, whose states are stored "
                    f"as they are computed, got {shown(options[name])}"
                )
        values = rule.check(options)
        if callable(values["lr"]):
            raise TypeError(f"lr: expected a number, got {shown(values['lr'])}")
        group_options = rule.group_options(values, values["lr"])
        expected = rule.info.states[group_options.variant]
        if len(states) != len(expected):
            raise TypeError(
                f"{rule.name}: expected {len(expected)} states ({', '.join(expected)}), "
                f"got {len(states)}"
            )
        is_list = isinstance(param, (list, tuple))
        tree = Tree([Nest("", param)]) if is_list else Tree.leaf(param)
        each = _one_each if is_list else _only_one
        grads = each(tree, "gradients", grad)
        columns = [each(tree, *own) for own in zip(expected, states, strict=True)]
        steps = [step] * len(grads) if is_integer(step) else each(tree, "step", step)
        counts = [as_integer("step", number, 1, MAX_STEP) - 1 for number in steps]
        for name, own in zip(tree.names, grads, strict=True):
            if own is None:
                raise TypeError(f"gradient of {shown(name)}: expected an array, got None")
        engine = Engine(rule.name, space_of(tree.names, tree.leaves))
        buffers = [
            {name: column[i] for name, column in zip(expected, columns, strict=True)}
            for i in range(len(grads))
        ]
        engine.add(tree, [group_options], buffers)
        engine.core.set_counters(0, counts)
        engine.core.step(grads)
        note_written(tensors_among([*tree.leaves, *chain(*columns)]))

    def __repr__(self) -> str:
        return f"<fusedstep.functional.{self.__name__}>"


def _only_one(tree: Tree, what: str, given: object) -> list[Any]:  # noqa: ARG001
    return [given]


def _one_each(tree: Tree, what: str, given: object) -> list[Any]:
    """What is given for each parameter, or TypeError."""
    count = len(tree.names)
    if not isinstance(given, (list, tuple)):
        raise TypeError(f"{what}: expected a list of {count}, one a parameter, got {shown(given)}")
    if len(given) != count:
        raise TypeError(f"{what}: expected {count}, one a parameter, got {len(given)}")
    return [*given]
