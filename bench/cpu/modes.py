"""The narrow modes that are measured, and who takes part in each."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fusedstep._bench.contestants import (
    BETA1,
    BETA2,
    EPS,
    LR,
    OURS,
    Arrays,
    Contestant,
    Make,
    fusedstep,
    on_tensors,
    roofline_of_bytes,
    stored_as,
)
from fusedstep._bench.elsewhere import libraries_of, optimizer_of
from fusedstep._bench.gate import STEPS
from fusedstep._bench.modes import SMALL, Mode

from ..harness.gate import Maker
from .names import CALL, ROOFLINE
from .opponents import ADAM

MODES = {
    "bf16-state": Mode(state="bfloat16"),
    "8bit-state": Mode(state="8bit"),
    "bf16": Mode("bfloat16"),
    "bf16-nearest": Mode("bfloat16", "bfloat16"),
    "bf16-stochastic": Mode("bfloat16", "bfloat16", "stochastic"),
    "bf16-kahan": Mode("bfloat16", "bfloat16", "kahan"),
    "split32-bf16": Mode("bfloat16", "bfloat16", master_bits=32),
    "split24-8bit": Mode("bfloat16", "8bit", master_bits=24),
    "bf16-8bit": Mode("bfloat16", "8bit"),
}
OPTIONS = {"lr": LR, "betas": (BETA1, BETA2), "eps": EPS}


def in_mode(mode: Mode) -> str:
    """Our name in a mode."""
    return f"{OURS}, {mode}"


def _later(find: Callable[[], Make]) -> Make:
    """A contestant whose library is imported when it is built."""
    return lambda params, grads: find()(params, grads)


def _gated(mode: Mode, find: Callable[[], Make]) -> Maker:
    """A contestant that is given the arrays in the formats of the mode."""
    moved = STEPS * LR
    allowed = mode.tolerance(5 * SMALL + moved, moved)
    return Maker(_later(lambda: stored_as(mode.dtype, find())), allowed, scale=SMALL)


def adam_of(who: str, mode: Mode) -> Callable[[list[Any]], Any]:
    """A library's Adam of this mode, to be called with torch's parameters."""
    _, optimizer = optimizer_of(who, "Adam", OPTIONS, mode)
    return optimizer


def _of_library(who: str, mode: Mode) -> Callable[[], Make]:
    return lambda: on_tensors(adam_of(who, mode))


def _one_element(params: Arrays, grads: Arrays) -> Contestant:
    return fusedstep()([params[0][:1].copy()], [np.array(grads[0][:1])])


def narrow_makers(mode: Mode, in_cache: bool) -> dict[str, Maker]:
    """Adam in float32, in the mode, and of those who store the same; and the limit."""
    makers = {
        OURS: ADAM[OURS],
        in_mode(mode): _gated(mode, lambda: fusedstep(**mode.options)),
        **{who: _gated(mode, _of_library(who, mode)) for who in libraries_of(mode)},
    }
    if in_cache:
        return {**makers, CALL: Maker(_one_element, gated=False)}
    limit = _later(lambda: roofline_of_bytes(mode.bytes_per_parameter("adam")))
    return {**makers, ROOFLINE: Maker(limit, gated=False)}
