"""With whom ``fusedstep bench`` compares a rule, and whether they compute the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import (
    OURS,
    Array,
    Arrays,
    Make,
    fusedstep,
    numpy_in_place,
    on_tensors,
    roofline,
    roofline_of_bytes,
    stored_as,
    textbook,
)
from fusedstep._bench.elsewhere import of_the_same_mode, torch_form
from fusedstep._bench.formulas import FORMULAS
from fusedstep._bench.gate import STEPS, Tolerance, result_after_steps, why_rejected
from fusedstep._bench.libraries import Unusable, reason_of
from fusedstep._bench.modes import FLOAT32, SMALL, Mode

__all__ = [
    "IN_FLOAT32",
    "IN_PLACE",
    "ROOFLINE",
    "STEPS",
    "TEXTBOOK",
    "Peers",
    "candidates",
    "narrow_candidates",
    "peers",
]

ROOFLINE, TEXTBOOK, IN_PLACE = "roofline", "NumPy textbook", "NumPy in place"
IN_FLOAT32 = f"{OURS} float32"
GATE_SIZE = 1009
# Most 8-bit optimizers keep float32 below 4,096 elements, and where a block of 256 would not be full.
NARROW_GATE_SIZE = 8192


@dataclass(frozen=True)
class Peers:
    """The contestants by name, those left out with the reason, and whose result was compared."""

    makers: Mapping[str, Make]
    left_out: Mapping[str, str]
    checked_against: Sequence[str] = ()

    @property
    def others(self) -> Sequence[str]:
        """Those that fusedstep is compared with."""
        return [name for name in self.makers if name not in (OURS, ROOFLINE)]


def candidates(rule: str) -> Peers:
    """Who can be asked for this rule in full precision."""
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
        name, optimizer = torch_form(type(opt).__name__, group)
        makers[name] = on_tensors(optimizer)
    except Unusable as error:
        left_out["torch"] = str(error)
    return Peers(makers, left_out)


def narrow_candidates(rule: str, mode: Mode) -> Peers:
    """Who can be asked for this rule in a narrow mode."""
    opt = fs.create(rule, np.zeros(1, np.float32))
    others, left_out = of_the_same_mode(type(opt).__name__, opt.groups[0], mode)
    makers = {
        OURS: fusedstep(rule, **mode.options),
        ROOFLINE: roofline_of_bytes(mode.bytes_per_parameter(rule)),
    }
    return Peers(makers | others, left_out)


def peers(rule: str, mode: Mode) -> Peers:
    """Who computes this rule as fusedstep does.

    Raises
    ------
    RuntimeError
        NumPy's formula, which is known to be right, leads elsewhere.
    """
    return _narrow_peers(rule, mode) if mode.is_narrow else _exact_peers(rule, mode)


def _exact_peers(rule: str, mode: Mode) -> Peers:
    """Those that reach our result by their own code, but for the rounding of single operations."""
    asked = candidates(rule)
    truth = _result(asked.makers[OURS], mode)
    known = _without_others(asked, rule, mode, truth, Tolerance(16 * np.finfo(mode.dtype).eps))
    for name in (TEXTBOOK, IN_PLACE):
        if name in asked.makers and name not in known.makers:
            raise _disagreement(name, rule, mode)
    return Peers(known.makers, known.left_out, known.others)


def _narrow_peers(rule: str, mode: Mode) -> Peers:
    """Those as near to NumPy's float32 step, or else to ours, as they can be; and ours in float32."""
    asked = narrow_candidates(rule, mode)
    [group] = fs.create(rule, np.zeros(1, np.float32)).groups
    reference = TEXTBOOK if rule in FORMULAS else IN_FLOAT32
    exact = textbook(rule, group) if rule in FORMULAS else fusedstep(rule)
    truth = _result(exact, mode, in_float32=True)
    start, _ = _start(mode)
    moved = max(float(np.abs(after - start.astype(np.float32)).max()) for after in truth)
    largest = max(float(np.abs(after).max()) for after in truth)
    allowed = mode.tolerance(largest, moved)
    if why_rejected(_result(asked.makers[OURS], mode), truth, allowed):
        raise _disagreement(reference, rule, mode)
    known = _without_others(asked, rule, mode, truth, allowed)
    in_float32 = {IN_FLOAT32: stored_as(np.float32, fusedstep(rule))}
    return Peers(in_float32 | dict(known.makers), known.left_out, [reference])


def _without_others(
    asked: Peers, rule: str, mode: Mode, truth: Arrays, allowed: Tolerance
) -> Peers:
    """The contestants without those that lead elsewhere, or fail."""
    makers, left_out = dict(asked.makers), dict(asked.left_out)
    for name in asked.others:
        try:
            reason = why_rejected(_result(makers[name], mode), truth, allowed)
        except Exception as error:  # noqa: BLE001 - another library may fail in any way
            reason = reason_of(error)
        else:
            reason = reason and f"its {rule} computes something else"
        if reason:
            left_out[name] = reason
            del makers[name]
    return Peers(makers, left_out)


def _disagreement(name: str, rule: str, mode: Mode) -> RuntimeError:
    return RuntimeError(f"fusedstep and {name} disagree after {STEPS} steps of {rule} ({mode})")


def _start(mode: Mode) -> tuple[Array, Array]:
    """A parameter and a gradient, in the formats of the mode."""
    size, scale = (NARROW_GATE_SIZE, SMALL) if mode.is_narrow else (GATE_SIZE, 1.0)
    p, g = np.random.default_rng(0).standard_normal((2, size))
    return (scale * p).astype(mode.dtype), g.astype(mode.dtype)


def _result(make: Make, mode: Mode, in_float32: bool = False) -> Arrays:
    """Where a contestant ends up; each step has another gradient, exact in every format."""
    p, g = (a.astype(FLOAT32.dtype) if in_float32 else a for a in _start(mode))
    return result_after_steps(make([p], [g]), partial(np.multiply, g, -0.5, out=g))
