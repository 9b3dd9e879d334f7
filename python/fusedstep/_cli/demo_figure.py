"""The demo's picture: loss curves on the left, paths through a ravine on the right."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fusedstep._cli.figures import blank_figure, to_png
from fusedstep._cli.training import RAVINE, RULES, Result, descend

__all__ = ["render"]

# Colour-blind safe colours (Okabe & Ito 2008); the markers distinguish the lines in greyscale.
STYLES: dict[str, dict[str, Any]] = {
    "SGD": {"color": "#7F7F7F", "marker": "o"},
    "Momentum": {"color": "#E69F00", "marker": "s"},
    "Adagrad": {"color": "#009E73", "marker": "^"},
    "RMSprop": {"color": "#0072B2", "marker": "D"},
    "Adam": {"color": "#D55E00", "marker": "v"},
}


def list_rates(rates: Iterable[tuple[str, float]]) -> str:
    """The line under a panel: a rule is only as good as its learning rate."""
    return "learning rates: " + ", ".join(f"{name} {lr:g}" for name, lr in rates)


def draw_losses(ax: Axes, results: list[Result]) -> None:
    """The training loss after each epoch, for every rule from the same start."""
    epochs = len(results[0].losses) - 1
    for result in results:
        style = STYLES[result.rule.name]
        ax.semilogy(result.losses, **style, markevery=max(1, epochs // 10), markersize=5)
    rates = list_rates((result.rule.name, result.rule.lr) for result in results)
    ax.set_title("Learning to read digits:\nfive rules, the same start, the same mini-batches")
    ax.set_xlabel(f"epoch\n{rates}")
    ax.set_ylabel("training loss (cross-entropy)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.margins(x=0.02)
    ax.grid(color="0.9")


def draw_ravine(ax: Axes) -> None:
    """The rules' paths over the contours of the ravine."""
    x, y = np.meshgrid(np.linspace(-5, 1.5, 261), np.linspace(-1.9, 2.1, 161))
    height = RAVINE(x, y)
    levels = np.geomspace(height.max() / 1000, height.max(), 14)
    ax.contour(x, y, height, levels=levels, colors="0.85", linewidths=0.8, zorder=1)
    for rule in RULES:
        path, style = descend(rule), STYLES[rule.name]
        ax.plot(*path.T, **style, markersize=3.5, linewidth=1.4)
        ax.plot(*path[-1], **style, markersize=8, markeredgecolor="black", zorder=5)
    note: dict[str, Any] = {"textcoords": "offset points", "fontweight": "bold"}
    ax.plot(*RAVINE.start, "ko", markersize=8, zorder=4)
    ax.annotate("start", RAVINE.start, xytext=(9, 6), **note)
    ax.plot(0, 0, "k+", markersize=20, markeredgewidth=1.5, zorder=6)
    ax.annotate(
        "minimum", (0, 0), xytext=(22, -95), **note, arrowprops={"arrowstyle": "-", "shrinkB": 8}
    )
    ax.text(0.02, 0.03, "large markers: after the last update", transform=ax.transAxes)
    rates = list_rates((rule.name, rule.ravine_lr) for rule in RULES)
    ax.set_title(
        f"{RAVINE.updates} updates in a ravine: SGD zig-zags, Momentum swings,\n"
        "Adagrad slows down, RMSprop and Adam keep going"
    )
    ax.set_xlabel(f"x, along the ravine\n{rates}")
    ax.set_ylabel("y, across it")


def render(results: list[Result]) -> bytes:
    """Draw the picture and return it as PNG."""
    figure = blank_figure(13, 6)
    left, right = figure.subplots(1, 2)
    draw_losses(left, results)
    draw_ravine(right)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    figure.legend(
        handles=[Line2D([], [], label=rule.name, **STYLES[rule.name]) for rule in RULES],
        loc="outside lower center",
        ncols=len(RULES),
        frameon=False,
    )
    return to_png(figure)
