"""Parameters in a mode, and what a float32 optimizer would do with the same gradients."""

from collections.abc import Mapping

import ml_dtypes
import numpy as np

import fusedstep as fs

from .modes import Mode
from .task import Floats, Rows, Rule

Gradients = Mapping[str, Floats | Rows]


class Weights:
    """The parameters that a task computes with, updated in a mode.

    In bfloat16 the optimizer has arrays of its own, and the task sees their values: arithmetic in
    float32 then stands for that of hardware with bfloat16 matrices. Gradients are rounded to
    bfloat16, as they would be of such parameters.
    """

    def __init__(
        self, seen: dict[str, Floats], rule: Rule, mode: Mode, seed: int, steps: int
    ) -> None:
        self.mode, self.seen, self.stored = mode, seen, seen
        if mode.narrow:
            self.stored = {name: array.astype(ml_dtypes.bfloat16) for name, array in seen.items()}
            for name, array in seen.items():
                array[...] = self.stored[name]
        decay = fs.schedules.Cosine(rule.lr, total_steps=steps + 1, warmup_steps=steps // 20)
        # From its second value, since the first is 0 and a step without effect has no angle.
        options = {"lr": lambda step: decay(step + 1), **rule.options}
        self.optimizer = fs.create(
            rule.name, self.stored, **options, **mode.optimizer_options(seed)
        )
        # Of float32, by the side: what it does with the same gradients.
        self.shadow = {name: array.copy() for name, array in seen.items()}
        self.shadow_optimizer = fs.create(rule.name, self.shadow, **options)

    def step(self, gradients: Gradients) -> None:
        if self.mode.narrow:
            gradients = {name: narrowed(gradient) for name, gradient in gradients.items()}
        for optimizer in (self.optimizer, self.shadow_optimizer):
            make_step(optimizer, gradients)
        if self.mode.narrow:
            for name, gradient in gradients.items():
                where = gradient.indices if isinstance(gradient, Rows) else ...
                self.seen[name][where] = self.stored[name][where]

    def mark(self) -> None:
        """Begin a stretch: the float32 optimizer goes on from here."""
        for name, array in self.shadow.items():
            array[...] = self._master(name)
        self.start = flat(self.shadow)

    def angle(self) -> float:
        """Between the update since the mark and that of float32, in degrees."""
        here = flat({name: self._master(name) for name in self.stored})
        return angle_between(here - self.start, flat(self.shadow) - self.start)

    def _master(self, name: str) -> Floats:
        """A parameter with all that the optimizer knows of it."""
        return self.optimizer.master(name) if self.mode.narrow else self.stored[name]


def narrowed(gradient: Floats | Rows) -> Floats | Rows:
    if isinstance(gradient, Rows):
        return Rows(gradient.indices, gradient.rows.astype(ml_dtypes.bfloat16))
    return gradient.astype(ml_dtypes.bfloat16)


def make_step(optimizer: fs.Optimizer, gradients: Gradients) -> None:
    rows = {name: g for name, g in gradients.items() if isinstance(g, Rows)}
    if not rows:
        optimizer.step(gradients)
        return
    with optimizer.one_step():
        for name, gradient in rows.items():
            optimizer.step_rows(name, gradient.indices, gradient.rows)


def flat(arrays: Mapping[str, Floats]) -> Floats:
    return np.concatenate([array.ravel() for array in arrays.values()])


def angle_between(a: Floats, b: Floats) -> float:
    """By the chord: the arc cosine of a float near 1 would lose small angles."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a), np.linalg.norm(b)
    if 0 in lengths:
        return 90.0  # a step that does nothing has no direction
    chord = np.linalg.norm(a / lengths[0] - b / lengths[1])
    return float(np.degrees(2 * np.arcsin(min(1.0, chord / 2))))
