"""The Parameters section of a rule's docstring: what the rule says of its options, and what all share.

A rule writes of an option only what is its own: the name, and below it the meaning. Types, ranges
and defaults are read off its signature, and what means the same in every rule is written here.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import replace

from fusedstep._options import Option, Rate
from fusedstep._pipeline import Pipeline

__all__ = ["described", "of_class", "of_function", "with_keywords"]

_SHARED: Mapping[str, str] = {
    "params": """\
The arrays to update in place: one array, a list of them, a mapping from names, any nesting of
these, or a list of groups ``{"params": ..., "lr": ...}`` with options of their own. NumPy's,
torch's or another library's: help(fusedstep.Optimizer) says which.""",
    "lr": "Learning rate: how far a step goes.",
    "betas": """\
How much of themselves the moving averages of the gradients (beta1) and of their squares (beta2)
keep at each step: at 0.9 an average reaches back about 10 steps, at 0.999 about 1,000.""",
    "eps": """\
Added to the root that divides the step, so that nothing is divided by 0 and tiny gradients do
not make large steps.""",
    "eps_inside_sqrt": "Add `eps` under the root, not after it.",
    "weight_decay": """\
How strongly the weights are pulled towards 0: ``weight_decay * p`` is added to the gradient (L2
regularisation).""",
    "maximize": "Go up the gradient instead of down.",
    "max_grad_norm": """\
Clip by norm: multiply the gradient by ``min(1, max_grad_norm / (norm + 1e-6))``.""",
    "max_grad_value": """\
Clip by value, after the norm: each element to ``[-max_grad_value, max_grad_value]``.""",
    "**pipeline": textwrap.fill(
        "Options of the whole step, which every rule takes and help(fusedstep.Optimizer) documents: "
        f"{', '.join(Pipeline.__annotations__)}.",
        width=96,
    ),
}

# Added to the text of `lr`, which no function takes as a schedule.
_SCHEDULE = """
A schedule is any function of the number of completed steps, as in :mod:`fusedstep.schedules`."""

_SYMBOLS = """\
In the formula ``p`` is a parameter, ``g`` its gradient (after clipping, `maximize` and any decay
that is added to it) and ``t`` the number of its step, from 1.
"""

_FUNCTION: Mapping[str, str] = {
    "param": "The array to update in place, or a list of arrays; then all below are lists, too.",
    "grad": "Its gradient, with the same shape and memory order; as for an optimizer.",
    "*states": "The state arrays, updated in place, in the order of the notes below.",
    "step": "The number of this update, from 1; for lists one number, or a list.",
}

_TITLE = "Parameters\n----------\n"
_ENTRY = re.compile(r"^([*\w]+)[^\n]*\n((?: [^\n]*\n|\n)*)", re.MULTILINE)


def described(doc: str) -> dict[str, str]:
    """The names in the Parameters section of a docstring, each with its text."""
    _, section, _ = _parts(doc + "\n")
    return {name: textwrap.dedent(text).strip() for name, text in _ENTRY.findall(section)}


def of_class(cls: type, options: Iterable[Option]) -> str | None:
    """The docstring of a rule with all its parameters; None where it has none (``python -OO``).

    What it does not describe is described as in the rules that it derives from, or as in every
    rule.
    """
    if not cls.__doc__:
        return None
    doc = inspect.cleandoc(cls.__doc__) + "\n"
    texts = dict(_SHARED)
    for base in cls.__mro__[:0:-1]:
        if getattr(base, "rule", ""):
            texts |= described(base.__doc__ or "")
    texts |= described(doc)
    texts["lr"] = texts["lr"].removesuffix(_SCHEDULE) + _SCHEDULE
    heads = {"params": "params", **_heads(options), "**pipeline": "**pipeline"}
    symbols = "" if _SYMBOLS in doc else _SYMBOLS + "\n"
    return _with_parameters(doc, heads, texts, symbols)


def of_function(doc: str, options: Iterable[Option]) -> str:
    """The docstring of a rule's class, turned into that of its function."""
    heads = {
        "param": "param : array",
        "grad": "grad : array",
        "*states": "*states : array",
        "step": "step : int",
        **_heads(
            replace(option, kind=option.kind.number) if isinstance(option.kind, Rate) else option
            for option in options
        ),
    }
    texts = {**_SHARED, **described(doc), **_FUNCTION}
    texts["lr"] = texts["lr"].removesuffix(_SCHEDULE)
    return _with_parameters(doc, heads, texts)


def with_keywords(doc: str, entries: Mapping[str, str]) -> str:
    """A rule's docstring with these entries in place of ``**pipeline``: their heads, and texts."""
    written = "".join(f"{h}\n{textwrap.indent(text, '    ')}\n" for h, text in entries.items())
    return re.sub(r"^\*\*pipeline\n(?: +.*\n)*", lambda _: written, doc, flags=re.MULTILINE)


def _heads(options: Iterable[Option]) -> dict[str, str]:
    return {o.name: f"{o.name} : {o.kind.documented}, default {o.default!r}" for o in options}


def _parts(doc: str) -> tuple[str, str, str]:
    """What is before the entries of Parameters, these, and the sections after them."""
    before, title, rest = doc.partition(_TITLE)
    if title:
        end = _next_section(rest)
        return before, rest[:end], rest[end:]
    end = _next_section(doc)
    return doc[:end], "", doc[end:]


def _next_section(text: str) -> int:
    underline = text.find("\n---")
    return len(text) if underline < 0 else text.rfind("\n", 0, underline) + 1


def _with_parameters(
    doc: str, heads: Mapping[str, str], texts: Mapping[str, str], note: str = ""
) -> str:
    before, _, after = _parts(doc)
    entries = "".join(
        f"{head}\n{textwrap.indent(texts.get(name, ''), '    ')}\n" for name, head in heads.items()
    )
    return f"{before.rstrip()}\n\n{note}{_TITLE}{entries}\n{after}".rstrip() + "\n"
