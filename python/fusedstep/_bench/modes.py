"""Modes: how narrow the numbers of a step are stored, and how far that may move its result."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._bench.gate import STEPS, Tolerance
from fusedstep._bench.libraries import library

__all__ = ["FLOAT32", "SMALL", "Mode"]

# Of the order of this are the gate's narrow parameters: beside 1, a step of 1e-3 would be lost.
SMALL = 2.0**-8

NARROW = ("bfloat16", "float16")
# The part of a step that a stored state may be wrong by on average: two units of its last place.
OFF = {"float32": 2**-10, "bfloat16": 2**-6, "8bit": 2**-3}
# Distance of two neighbouring numbers at 1.
SPACING = {"float32": 2.0**-23, "float64": 2.0**-52, "bfloat16": 2.0**-7, "float16": 2.0**-10}


class Mode(NamedTuple):
    """The format of parameters and gradients, that of the state, and how parameters are rounded."""

    param: str = "float32"
    state: str = "float32"
    rounding: str = "nearest"
    master_bits: int | None = None

    @property
    def is_narrow(self) -> bool:
        """Whether anything is stored in less than float32."""
        return self != Mode(self.param) or self.param in NARROW

    @property
    def options(self) -> dict[str, Any]:
        """What makes an optimizer of it, whatever the arrays' size."""
        own: dict[str, Any] = {}
        if self.state != "float32":
            own["state_dtype"] = self.state
        if self.state == "8bit":
            own["min_8bit_size"] = 0
        if self.rounding != "nearest":
            own["rounding"] = self.rounding
        if self.master_bits is not None:
            own |= {"master": "split", "master_bits": self.master_bits}
        return own

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of parameters and gradients.

        Raises
        ------
        Unusable
            bfloat16, without ml_dtypes.
        """
        if self.param == "bfloat16":
            narrow: np.dtype[Any] = np.dtype(library("ml_dtypes", "ml_dtypes").bfloat16)
            return narrow
        return np.dtype(self.param)

    @property
    def compute_dtype(self) -> str:
        """What a step computes in."""
        return "float64" if self.param == "float64" else "float32"

    def __str__(self) -> str:
        if not self.is_narrow:
            return self.param
        words = [f"{self.param} parameters", f"{self.state.replace('8bit', '8-bit')} state"]
        if self.rounding != "nearest":
            words.append(f"{self.rounding} rounding")
        if self.master_bits is not None:
            words.append(f"{self.master_bits}-bit master")
        return ", ".join(words)

    def bytes_per_parameter(self, rule: str) -> float:
        """What a step reads and writes: everything that the optimizer holds, and the gradient."""
        p = np.zeros(1 << 16, self.dtype)
        held = p.nbytes + fs.create(rule, [p], **self.options).state_bytes
        return (2 * held + p.nbytes) / p.size

    def tolerance(self, largest: float, moved: float) -> Tolerance:
        """How far the steps of the gate may lead from those of float32.

        Every step may go astray by one spacing of the parameters, the largest of which is `largest`.
        Of the distance `moved`, the stored state loses a part on average; a rule that takes a sign may
        go the other way where it is nearly 0.
        """
        spacing = SPACING[self.param] * largest
        turned = 0.0 if self.state == "float32" else 2 * moved
        lost = OFF[self.state] * moved
        return Tolerance(STEPS * spacing + turned + lost, spacing / 2 + lost)


FLOAT32 = Mode()
