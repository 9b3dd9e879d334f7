"""With whom ``fusedstep bench`` compares a rule, and whether they compute the same."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import (
    OURS,
    Arrays,
    Make,
    fusedstep,
    numpy_in_place,
    roofline,
    textbook,
    torch_step,
)
from fusedstep._bench.formulas import FORMULAS
from fusedstep._bench.gate import STEPS, Tolerance, result_after_steps, why_rejected
from fusedstep._bench.libraries import Unusable, library, reason_of

__all__ = ["IN_PLACE", "ROOFLINE", "STEPS", "TEXTBOOK", "Peers", "peers"]

ROOFLINE, TEXTBOOK, IN_PLACE = "roofline", "NumPy textbook", "NumPy in place"
GATE_SIZE = 1009


@dataclass(frozen=True)
class Peers:
    """The contestants by name, and those left out, with the reason."""

    makers: Mapping[str, Make]
    left_out: Mapping[str, str]

    @property
    def others(self) -> Sequence[str]:
        """Those that fusedstep is compared with: each has reached the same result by its own code."""
        return [name for name in self.makers if name not in (OURS, ROOFLINE)]


def torch_contestant(rule_name: str, options: Mapping[str, Any]) -> tuple[str, Make]:
    """The torch optimizer of this name with the same options: fused if it can be, else foreach.

    Raises
    ------
    Unusable
        There is no torch, or no such class; the message says which.
    """
    torch, optim = library("torch", "torch"), library("torch.optim", "torch")
    cls = getattr(optim, rule_name, None)
    if cls is None:
        raise Unusable(f"its torch.optim has no {rule_name}")
    torch.set_num_threads(fs.get_num_threads())
    known = inspect.signature(cls).parameters
    chosen = {name: value for name, value in options.items() if name in known}
    form = next((form for form in ("fused", "foreach") if form in known), None)
    if form:
        chosen[form] = True
    return f"torch {form}" if form else "torch", torch_step(rule_name, **chosen)


def candidates(rule: str) -> Peers:
    """Who can be asked for this rule."""
    opt = fs.create(rule, np.zeros(1))
    [group] = opt.groups
    makers = {OURS: fusedstep(rule), ROOFLINE: roofline(len(group.state_names))}
    left_out = {}
    if rule in FORMULAS:
        makers[TEXTBOOK] = textbook(rule, group)
    else:
        left_out["NumPy"] = f"bench has no formula of {rule}"
    if rule == "adam":
        makers[IN_PLACE] = numpy_in_place
    try:
        name, make = torch_contestant(type(opt).__name__, group)
        makers[name] = make
    except Unusable as error:
        left_out["torch"] = str(error)
    return Peers(makers, left_out)


def peers(rule: str, dtype: str) -> Peers:
    """Who computes this rule as fusedstep does.

    Raises
    ------
    RuntimeError
        NumPy's formula, which is known to be right, leads elsewhere.
    """
    asked = candidates(rule)
    truth = _result(asked.makers[OURS], dtype)
    makers, left_out = dict(asked.makers), dict(asked.left_out)
    for name in asked.others:
        try:
            reason = why_rejected(_result(makers[name], dtype), truth, _allowed(dtype))
        except Exception as error:  # noqa: BLE001 - another library may fail in any way
            reason = reason_of(error)
        else:
            reason = reason and f"its {rule} computes something else"
        if reason:
            if name in (TEXTBOOK, IN_PLACE):
                raise RuntimeError(
                    f"fusedstep and {name} disagree after {STEPS} steps of {rule} ({dtype})"
                )
            left_out[name] = reason
            del makers[name]
    return Peers(makers, left_out)


def _allowed(dtype: str) -> Tolerance:
    return Tolerance(16 * float(np.finfo(dtype).eps))


def _result(make: Make, dtype: str) -> Arrays:
    """Where a contestant ends up; each step has another gradient."""
    p, g = np.random.default_rng(0).standard_normal((2, GATE_SIZE)).astype(dtype)
    return result_after_steps(make([p], [g]), partial(np.multiply, g, -0.7, out=g))
