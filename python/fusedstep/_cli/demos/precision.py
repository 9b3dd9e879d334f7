"""The same training with parameters and state of 32, 16 and 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._cli.demos import Numbers
from fusedstep._cli.demos._network import (
    Array,
    Labels,
    Weights,
    gradients,
    initial_weights,
    load_digits,
    mean_loss,
    on_one_thread,
)
from fusedstep._cli.demos._panels import label_ends
from fusedstep.gallery import COLOURS, blank_figure
from fusedstep.gallery._style import tidy

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["N_UNITS", "UNIT", "compute", "draw", "report"]

UNIT, N_UNITS = "epoch", 40
BATCH_SIZE = 64
LR = 2e-4  # most updates are smaller than half of what two neighbouring bfloat16 weights differ by


class Mode(NamedTuple):
    """How parameters and state are stored."""

    name: str
    colour: str
    narrow: bool  # parameters and gradients in bfloat16
    options: Mapping[str, Any]


BITS_8 = {"state_dtype": "8bit", "min_8bit_size": 1}  # of small arrays, too
BITS_16 = {"state_dtype": "bfloat16"}
CORRECTED = {"master": "split", "master_bits": 24}

MODES = (
    Mode("float32", "black", False, {}),
    Mode("float32, 8-bit state", "purple", False, BITS_8),
    Mode("bfloat16, to nearest", "vermilion", True, BITS_16),
    Mode("bfloat16, stochastic", "orange", True, {"rounding": "stochastic", **BITS_16}),
    Mode("bfloat16, Kahan", "green", True, {"rounding": "kahan", **BITS_16}),
    Mode("bfloat16 + 8 bits, 8-bit state", "blue", True, {**CORRECTED, **BITS_8}),
    Mode("bfloat16, stochastic, 8-bit state", "sky", True, {"rounding": "stochastic", **BITS_8}),
)
STALLS = "bfloat16, to nearest"
PARTS = ("parameter", "correction", "state")


class Trainee:
    """A network in one mode.

    Its arithmetic is in float32, as that of hardware which multiplies bfloat16 matrices: where the
    optimizer holds parameters in bfloat16, the network sees their values.
    """

    def __init__(self, mode: Mode, start: Weights, seed: int) -> None:
        import ml_dtypes

        self._dtype = np.dtype(ml_dtypes.bfloat16 if mode.narrow else np.float32)
        self._stored = {name: array.astype(self._dtype) for name, array in start.items()}
        self._opt = fs.Adam(self._stored, lr=LR, seed=seed, **mode.options)
        self.losses: list[float] = []

    @property
    def seen(self) -> Weights:
        """The parameters as the network computes with them."""
        return {n: array.astype(np.float32, copy=False) for n, array in self._stored.items()}

    def update(self, x: Array, y: Labels) -> None:
        """Learn from one mini-batch, by gradients of the parameters' format."""
        grads = gradients(self.seen, x, y)
        self._opt.step({n: array.astype(self._dtype, copy=False) for n, array in grads.items()})

    def bytes_a_parameter(self) -> dict[str, float]:
        """What is held for a parameter, by its parts."""
        count = sum(array.size for array in self._stored.values())
        stored = sum(array.nbytes for array in self._stored.values())
        lost = sum(
            array.nbytes
            for state in self._opt.state.values()
            for name, array in state.items()
            if name in ("correction", "compensation")
        )
        sizes = (stored, lost, self._opt.state_bytes - lost)
        return {part: size / count for part, size in zip(PARTS, sizes, strict=True)}


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """Train in each mode from the same weights on the same mini-batches."""
    rng = np.random.default_rng(seed)
    digits = load_digits(rng)
    x, y = digits.x_train, digits.y_train
    start = initial_weights(rng, x.shape[1], int(y.max()) + 1)
    trainees = {mode.name: Trainee(mode, start, seed) for mode in MODES}
    batches = fs.data.MiniBatches(x, y, batch_size=BATCH_SIZE, seed=seed)

    def note() -> None:
        for trainee in trainees.values():
            trainee.losses.append(mean_loss(trainee.seen, x, y))

    with on_one_thread():
        note()
        for _ in range(N_UNITS):
            for x_batch, y_batch in batches:
                for trainee in trainees.values():
                    trainee.update(x_batch, y_batch)
            note()
            advance()
    return {
        "seed": seed,
        "lr": LR,
        "batch_size": BATCH_SIZE,
        "parameters": sum(array.size for array in start.values()),
        "losses": {name: trainee.losses for name, trainee in trainees.items()},
        "bytes_a_parameter": {
            name: trainee.bytes_a_parameter() for name, trainee in trainees.items()
        },
    }


def draw(numbers: Numbers) -> Figure:
    """The losses, and the bytes of a parameter."""
    figure = blank_figure(13, 5)
    left, right = figure.subplots(1, 2, width_ratios=(6, 5))
    draw_losses(left, numbers)
    draw_bytes(right, numbers)
    return figure


def draw_losses(ax: Axes, numbers: Numbers) -> None:
    """The loss by epoch. Lines on each other show as stripes, and share a name."""
    for i, mode in enumerate(MODES):
        style: dict[str, Any] = {"color": COLOURS[mode.colour], "linewidth": 1.8}
        if mode.name == STALLS:
            style["label"] = STALLS.replace(", ", ",\n")
        else:
            style["linewidth"] += 1.1 * (len(MODES) - 1 - i)
        ax.semilogy(numbers["losses"][mode.name], **style, solid_capstyle="butt")
    ax.lines[0].set_label("all others")
    ax.set_title("Updates too small for bfloat16 are lost, or kept", loc="left")
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss (cross-entropy)")
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}")
    ax.margins(x=0.02)
    tidy(ax)
    label_ends(ax)


def draw_bytes(ax: Axes, numbers: Numbers) -> None:
    """A bar for each mode, of the parts that are held, with the loss that it comes to."""
    for row, mode in enumerate(MODES):
        sizes, at = numbers["bytes_a_parameter"][mode.name], 0.0
        for part, strength in zip(PARTS, (1, 0.65, 0.35), strict=True):
            ax.barh(row, sizes[part], left=at, color=COLOURS[mode.colour], alpha=strength)
            at += sizes[part]
        ax.annotate(
            f"{at:.2f} bytes, loss {numbers['losses'][mode.name][-1]:.3f}",
            (at, row),
            xytext=(5, 0),
            textcoords="offset points",
            verticalalignment="center",
        )
    ax.set_yticks(range(len(MODES)), [mode.name for mode in MODES])
    ax.set_ylim(len(MODES) - 0.5, -0.6)
    ax.margins(x=0.5)
    ax.set_title("Bytes a parameter, and the loss in the end", loc="left")
    ax.set_xlabel("bytes: parameter (dark), correction, Adam's state (light)")
    ax.tick_params(axis="y", length=0)
    ax.spines[["top", "right"]].set_visible(False)


HEAD = """\
The digits again, by Adam (lr {lr:g}), {epochs} epochs of mini-batches of {size}; seed {seed}.

                                          bytes held for a parameter
parameters and state                  param.   corr.   state     sum    train loss
"""
NOTE = """
Neighbours among bfloat16 numbers differ by 1/256 to 1/128 of their size. An update of less than
half of that is lost when it is rounded to nearest. It is kept on average (stochastic), in a second
number (Kahan), or in 8 bits more. Where bfloat16 is without 8-bit state, the state is bfloat16.
A gradient comes on top."""


def report(numbers: Numbers) -> str:
    """A table, and what to see in it."""
    text = HEAD.format(
        lr=numbers["lr"],
        epochs=len(numbers["losses"]["float32"]) - 1,
        size=numbers["batch_size"],
        seed=numbers["seed"],
    )
    for name, losses in numbers["losses"].items():
        sizes = numbers["bytes_a_parameter"][name].values()
        columns = "".join(f"{size:>8.2f}" for size in [*sizes, sum(sizes)])
        text += f"{name:<36}{columns}{losses[-1]:>14.4f}\n"
    return text + NOTE
