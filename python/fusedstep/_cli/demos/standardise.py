"""Features of very different scales, as they are and as z-scores; and whose mean and deviation."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._cli.demos import Numbers
from fusedstep._cli.demos._network import (
    Array,
    Labels,
    Weights,
    accuracy,
    gradients,
    initial_weights,
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

UNIT, N_UNITS = "split", 20  # of the samples into training and test set
EPOCHS = 30
LR = 0.1  # with z-scores
RAW_RATES = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)
DRIFT = 1.2  # what an instrument shows in the place of 1, once it has drifted
TOGETHER = (1, 2, 4, 8, 16, 32, 64, 128)  # test samples whose own mean and deviation are taken


class Split(NamedTuple):
    """Samples to train with and samples to test with, as they were measured."""

    x_train: Array
    y_train: Labels
    x_test: Array
    y_test: Labels
    start: Weights  # of a network


def make_split(rng: np.random.Generator) -> Split:
    """Divide scikit-learn's bundled measurements of cell nuclei, two classes, at random."""
    from sklearn import datasets

    x, y = datasets.load_breast_cancer(return_X_y=True)
    x = x.astype(np.float32)
    train, test = np.split(rng.permutation(len(x)), [7 * len(x) // 10])
    start = initial_weights(rng, x.shape[1], int(y.max()) + 1)
    return Split(x[train], y[train], x[test], y[test], start)


def train(split: Split, x: Array, lr: float, epochs: int, seed: int) -> tuple[Weights, list[float]]:
    """SGD on `x`, which is the training set in some form: weights, and losses by epoch."""
    y = split.y_train
    weights = {name: array.copy() for name, array in split.start.items()}
    opt = fs.SGD(weights, lr=lr)
    batches = fs.data.MiniBatches(x, y, batch_size=32, seed=seed)
    losses = [mean_loss(weights, x, y)]
    for _ in range(epochs):
        for x_batch, y_batch in batches:
            opt.step(gradients(weights, x_batch, y_batch))
        losses.append(mean_loss(weights, x, y))
    return weights, losses


def compare_forms(split: Split, seed: int) -> dict[str, Any]:
    """The losses of a training with z-scores, and of trainings without at several rates."""
    z = fs.data.Standardizer().fit_transform(split.x_train)
    deviations = split.x_train.std(axis=0)
    return {
        "deviations": [float(deviations.min()), float(deviations.max())],
        "lr": LR,
        "standardised": train(split, z, LR, EPOCHS, seed)[1],
        "raw_lrs": list(RAW_RATES),
        "raw": [train(split, split.x_train, lr, EPOCHS, seed)[1] for lr in RAW_RATES],
    }


def in_groups(weights: Weights, split: Split, size: int) -> float:
    """The accuracy where each `size` test samples are standardised by themselves."""
    whole = len(split.x_test) // size * size
    groups = np.split(split.x_test[:whole], whole // size)
    z = np.concatenate([fs.data.Standardizer().fit_transform(group) for group in groups])
    return accuracy(weights, z, split.y_test[:whole])


def compare_statistics(split: Split, seed: int) -> dict[str, dict[str, Any]]:
    """The accuracy by whose mean and deviation standardise the test set, with and without drift."""
    of_training = fs.data.Standardizer().fit(split.x_train)
    weights, _ = train(split, of_training.transform(split.x_train), LR, EPOCHS, seed)
    accuracies = {}
    for name, gain in (("same", 1), ("drifted", DRIFT)):
        part = split._replace(x_test=split.x_test * np.float32(gain))
        of_all = fs.data.Standardizer().fit(np.concatenate([part.x_train, part.x_test]))
        leaky_weights, _ = train(part, of_all.transform(part.x_train), LR, EPOCHS, seed)
        accuracies[name] = {
            "training": accuracy(weights, of_training.transform(part.x_test), part.y_test),
            "all": accuracy(leaky_weights, of_all.transform(part.x_test), part.y_test),
            "own": [in_groups(weights, part, size) for size in TOGETHER],
        }
    return accuracies


def means(accuracies: list[dict[str, Any]]) -> dict[str, Any]:
    """The mean over the splits."""
    return {
        key: np.mean([split[key] for split in accuracies], axis=0).tolist() for key in accuracies[0]
    }


def compute(seed: int, advance: Callable[[], object]) -> Numbers:
    """Both comparisons; the second for many splits, with and without drift of the instrument."""
    rng = np.random.default_rng(seed)
    splits = [make_split(rng) for _ in range(N_UNITS)]
    accuracies: dict[str, list[dict[str, Any]]] = {"same": [], "drifted": []}
    with on_one_thread():
        forms = compare_forms(splits[0], seed)
        for split in splits:
            for name, of_split in compare_statistics(split, seed).items():
                accuracies[name].append(of_split)
            advance()
    leaks = [of_split["all"] - of_split["training"] for of_split in accuracies["same"]]
    return {
        "seed": seed,
        "epochs": EPOCHS,
        "forms": forms,
        "splits": N_UNITS,
        "drift": DRIFT,
        "together": list(TOGETHER),
        "accuracies": {name: means(values) for name, values in accuracies.items()},
        "leak": float(np.mean(leaks)),
        "leak_error": float(np.std(leaks) / np.sqrt(N_UNITS)),
    }


def best_raw(forms: dict[str, Any]) -> int:
    """The rate at which raw features come furthest, as an index."""
    return int(np.argmin([losses[-1] for losses in forms["raw"]]))


def draw(numbers: Numbers) -> Figure:
    """The trainings with and without, and the accuracy by whose statistics are taken."""
    figure = blank_figure(13, 5)
    left, right = figure.subplots(1, 2)
    draw_forms(left, numbers["forms"])
    draw_statistics(right, numbers)
    for ax in (left, right):
        tidy(ax)
        label_ends(ax)
    return figure


def draw_forms(ax: Axes, forms: dict[str, Any]) -> None:
    """The loss by epoch."""
    best, rates = best_raw(forms), forms["raw_lrs"]
    lines = [
        (forms["standardised"], "blue", f"z-scores, lr {forms['lr']:g}"),
        (forms["raw"][0], "grey", f"raw, lr {rates[0]:g}"),
        (forms["raw"][best], "orange", f"raw, lr {rates[best]:g}:\nbest of {len(rates)} rates"),
    ]
    for losses, colour, name in lines:
        ax.semilogy(losses, color=COLOURS[colour], linewidth=2, label=name)
    ax.set_title("The same training, on raw features and on z-scores", loc="left")
    ax.set_xlabel("epoch")
    ax.set_ylabel("training loss (cross-entropy)")


def draw_statistics(ax: Axes, numbers: Numbers) -> None:
    """The accuracy by how many test samples are standardised together."""
    together, drift = numbers["together"], f"{numbers['drift'] - 1:.0%}"
    same, drifted = numbers["accuracies"]["same"], numbers["accuracies"]["drifted"]
    own: dict[str, Any] = {"color": COLOURS["vermilion"], "marker": "o"}
    ax.plot(together, same["own"], **own, linewidth=2)
    ax.plot(together, drifted["own"], **own, linestyle="none")
    ax.annotate(
        "the test samples themselves,\ninstrument drifted or not",
        (together[3], same["own"][3]),
        xytext=(8, -18),
        textcoords="offset points",
        color=own["color"],
        fontweight="bold",
    )
    for accuracies, style, name in [
        (same, "-", "the training set"),
        (drifted, "--", f"the training set,\ninstrument\ndrifted by {drift}"),
    ]:
        ax.plot(
            [together[0], together[-1]],
            [accuracies["training"]] * 2,
            color=COLOURS["blue"],
            linewidth=2,
            linestyle=style,
            label=name,
        )
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_major_formatter("{x:.0%}")
    ax.set_title("Whose mean and deviation standardise the test set?", loc="left")
    ax.set_xlabel("test samples standardised together")
    ax.set_ylabel("test samples classified correctly")


HEAD = """\
Two classes of cell nuclei by 30 measurements, whose deviations go from {low:.2g} to {high:.0f}; the small
network, {epochs} epochs of SGD; seed {seed}.

training on                                           train loss
"""
MIDDLE = """
test set by mean and deviation of                     test right    drifted by {drift:.0%}
"""
NOTE = """
Means of {splits} random splits. Where both sets are drawn alike, statistics of all samples leak nothing
that could be measured here: {leak:+.2f} points, standard error {error:.2f}. By its own statistics a test
set is judged by how many samples happen to come together, and by which. And where the instrument
has drifted since the training, they hide what that costs: a sample that comes alone can only be
standardised as in training."""


def report(numbers: Numbers) -> str:
    """Both comparisons, and what they mean."""
    forms, drift = numbers["forms"], numbers["drift"] - 1
    best, rates = best_raw(forms), forms["raw_lrs"]
    low, high = forms["deviations"]
    text = HEAD.format(low=low, high=high, epochs=numbers["epochs"], seed=numbers["seed"])
    for losses, name in [
        (forms["standardised"], f"z-scores, lr {forms['lr']:g}"),
        (forms["raw"][0], f"raw features, lr {rates[0]:g}"),
        (forms["raw"][best], f"raw features, lr {rates[best]:g}, the best of {len(rates)} rates"),
    ]:
        text += f"{name:<52}{losses[-1]:>12.4f}\n"
    text += MIDDLE.format(drift=drift)
    same, drifted = numbers["accuracies"]["same"], numbers["accuracies"]["drifted"]
    names = ["the test sample alone, so that z = 0"]
    names += [f"{size} test samples" for size in numbers["together"][1:]]
    for name, here, there in [
        ("the training set", same["training"], drifted["training"]),
        ("all samples, test set included", same["all"], drifted["all"]),
        *zip(names, same["own"], drifted["own"], strict=True),
    ]:
        text += f"{name:<52}{here:>12.1%}{there:>18.1%}\n"
    return text + NOTE.format(
        splits=numbers["splits"], leak=100 * numbers["leak"], error=100 * numbers["leak_error"]
    )
