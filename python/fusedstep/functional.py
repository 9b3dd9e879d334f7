"""The rules as functions, for callers who keep their own state.

There is one function per rule, under the rule's name::

    fusedstep.functional.adam(p, g, exp_avg, exp_avg_sq, step=1, lr=1e-3)

updates ``p`` and the state arrays in place, with the same kernels, checks and bits as the classes.
The caller allocates the state arrays, with the initial values in the docstring of the class (0
unless it says otherwise), and passes them in the order given there. ``step`` is the number of this
update, from 1. State is float32, or float64 beside a float64 parameter; a bfloat16 or float16
parameter is rounded to nearest. Narrow state, and parameters that lose nothing, are for optimizers.

Many arrays take one call, all or nothing, with lists in place of arrays, and one number of the
update or a list of them::

    fusedstep.functional.adam(params, grads, exp_avgs, exp_avg_sqs, step=[1, 1, 5], lr=1e-3)
"""

from functools import cache
from typing import Any

from fusedstep._definition import registry
from fusedstep._function import RuleFunction
from fusedstep._messages import shown


@cache
def _function_of(cls: Any) -> RuleFunction:  # not of a name: a rule may be registered anew
    return RuleFunction(cls)


def __getattr__(name: str) -> RuleFunction:
    if name not in registry:
        raise AttributeError(f"module {__name__!r} has no attribute {shown(name)}")
    return _function_of(registry[name])


def __dir__() -> list[str]:
    return sorted(registry)
