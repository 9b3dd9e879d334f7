"""The demos that train a network: their numbers show what they claim, their figures are readable."""

import contextlib
import functools
import io
import json
import re
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import _core
from fusedstep._cli.main import main
from short_demos import SHORT, module_of, shortened

for needed in ("matplotlib", "ml_dtypes", "sklearn", "tqdm"):
    pytest.importorskip(needed)

pytestmark = pytest.mark.xdist_group("trainings")  # one worker, which keeps the numbers
LOW_PRECISION = Path(__file__).parents[2] / "docs" / "low-precision.md"


def run(name, seed):
    """The numbers that ``fusedstep demo NAME --json`` prints, of a short training."""
    printed = io.StringIO()
    with shortened(name), contextlib.redirect_stdout(printed):
        assert main(["demo", name, "--json", "--quiet", "--seed", str(seed)]) == 0
    return json.loads(printed.getvalue())


@functools.cache
def text_of(name):
    return json.dumps(run(name, 0))


@pytest.fixture
def numbers(request):
    """Of the demo that the test is about."""
    return json.loads(text_of(request.param))


def about(name):
    return pytest.mark.parametrize("numbers", [name], ids=[name], indirect=True)


def without_times(numbers):
    return {key: value for key, value in numbers.items() if key != "timings"}


# What they claim ---------------------------------------------------------------------------------


@about("digits")
def test_every_rule_learns_and_the_race_is_what_the_curves_say(numbers):
    assert list(numbers["losses"]) == ["SGD", "Momentum", "Adagrad", "RMSprop", "Adam"]
    for name, losses in numbers["losses"].items():
        assert len(losses) == len(numbers["updates"]) == len(numbers["accuracies"][name])
        assert losses[-1] < losses[0] / 5
        reached = numbers["updates_to_target"][name]
        for updates, share in zip(numbers["updates"], numbers["accuracies"][name], strict=True):
            if reached is None or updates < reached:
                assert share < numbers["target"]
            elif updates == reached:
                assert share >= numbers["target"]
    assert any(numbers["updates_to_target"].values())
    for seconds in numbers["timings"]["step_seconds"].values():
        assert 0 < seconds < 1
    for name, seconds in numbers["timings"]["update_seconds"].items():
        assert seconds >= numbers["timings"]["step_seconds"][name]


def test_a_target_that_is_not_reached_is_no_number():
    digits = module_of("digits")
    numbers = json.loads(text_of("digits"))
    numbers["updates_to_target"]["SGD"] = None
    row = re.search(r"^SGD .*$", digits.report(numbers), re.MULTILINE)[0].split()
    assert row[4:6] == ["-", "-"]
    words = [text.get_text() for ax in digits.draw(numbers).axes for text in ax.texts]
    unreached = [name for name, n in numbers["updates_to_target"].items() if n is None]
    assert words.count("not yet") == 2 * len(unreached)


@about("batches")
def test_small_batches_see_fewer_samples_and_more_noise(numbers):
    trainings = numbers["trainings"]
    sizes = [training["batch_size"] for training in trainings]
    assert sizes == [1, 32, 64, 128, numbers["training_images"]]
    samples = [training["batch_size"] * training["updates_to_target"] for training in trainings]
    assert samples == sorted(samples)
    noise = [training["gradient_noise"] for training in trainings]
    assert noise == sorted(noise, reverse=True)
    assert noise[-1] < 1e-5
    for n, value in zip(sizes[:-1], noise[:-1], strict=True):  # as the mean of n samples drawn
        assert value / noise[0] == pytest.approx(n**-0.5, rel=0.1)
    # The loss of all samples falls with every update by all, and jumps about after single ones.
    falls = [[b < a for a, b in pairwise(training["losses"])] for training in trainings]
    assert all(falls[-1])
    assert sum(falls[0]) < 0.9 * len(falls[0])


@about("standardise")
def test_z_scores_train_further_in_the_same_updates(numbers):
    forms = numbers["forms"]
    low, high = forms["deviations"]
    assert high / low > 1e5
    raw = [losses[-1] for losses in forms["raw"]]
    assert forms["raw_lrs"][0] == forms["lr"]
    assert len({len(losses) for losses in [*forms["raw"], forms["standardised"]]}) == 1
    assert forms["standardised"][-1] < min(raw) / 2
    assert raw[0] > 10 * forms["standardised"][-1]


@about("standardise")
def test_what_it_does_to_take_the_test_sets_own_statistics(numbers):
    same, drifted = numbers["accuracies"]["same"], numbers["accuracies"]["drifted"]
    assert same["training"] > 0.93
    # From sets that are drawn alike the leak is nothing,
    assert numbers["leak"] == pytest.approx(same["all"] - same["training"])
    assert abs(numbers["leak"]) < 0.02
    # a sample by itself becomes zeros,
    assert numbers["together"][0] == 1
    assert same["own"][0] < same["training"] - 0.2
    assert same["own"][:5] == sorted(same["own"][:5])  # of 1, 2, 4, 8, 16 together
    assert same["own"][-1] == pytest.approx(same["training"], abs=0.02)
    # and a drift is hidden.
    assert drifted["training"] < same["training"] - 0.1
    assert drifted["own"] == pytest.approx(same["own"], abs=0.005)


@about("precision")
def test_rounding_to_nearest_stalls_and_nothing_else_does(numbers):
    losses = {name: losses[-1] for name, losses in numbers["losses"].items()}
    assert len(losses) == 7
    assert losses.pop("bfloat16, to nearest") > 1.5 * losses["float32"]
    for loss in losses.values():
        assert loss == pytest.approx(losses["float32"], rel=0.02)


@pytest.mark.skipif(not LOW_PRECISION.exists(), reason="the documentation is not here")
@about("precision")
def test_the_bytes_of_a_parameter_are_those_of_the_documentation(numbers):
    rows = re.findall(
        r"^\| ([\w ,]+) \| ([\w ]+) \| [\d.]+ \| ([\d.]+) \|$",
        LOW_PRECISION.read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    documented = {(stored, state): float(held) for stored, state, held in rows}
    for name, row in {
        "float32": ("float32", "float32"),
        "float32, 8-bit state": ("float32", "8 bit"),
        "bfloat16, stochastic": ("bfloat16, stochastic", "bfloat16"),
        "bfloat16 + 8 bits, 8-bit state": ("bfloat16, split 24", "8 bit"),
        "bfloat16, stochastic, 8-bit state": ("bfloat16", "8 bit"),
    }.items():
        sizes = numbers["bytes_a_parameter"][name]
        assert sizes["parameter"] == (4 if name.startswith("float32") else 2)
        assert sizes["correction"] + sizes["state"] == pytest.approx(documented[row], abs=0.005)
    kahan = numbers["bytes_a_parameter"]["bfloat16, Kahan"]
    assert kahan == {"parameter": 2, "correction": 2, "state": 4}


# What they have in common ------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", SHORT, indirect=True)
def test_the_same_seed_gives_the_same_numbers_on_every_instruction_set(numbers, request):
    name = request.node.callspec.params["numbers"]
    _core.use_isa("baseline")
    with fs.num_threads(2):
        assert without_times(run(name, 0)) == without_times(numbers)
        assert without_times(run(name, 1)) != without_times(numbers)


@pytest.mark.parametrize("numbers", SHORT, indirect=True)
def test_the_report_fits_a_terminal(numbers, request):
    name = request.node.callspec.params["numbers"]
    report = module_of(name).report(numbers)
    assert max(map(len, report.splitlines())) <= 100
    assert f"seed {numbers['seed']}" in report
    assert ("this machine's" in report) == ("timings" in numbers)


def boxes_of(figure):
    """The rectangles of what is written in a figure, without the numbers at its axes."""
    figure.canvas.draw()
    for ax in figure.axes:
        for text in [*ax.texts, ax.title, ax._left_title, ax.xaxis.label, ax.yaxis.label]:
            if text.get_text():
                yield text.get_text(), text.get_tightbbox(figure.canvas.get_renderer())


@pytest.mark.parametrize("numbers", SHORT, indirect=True)
def test_what_a_figure_says_is_within_it_and_covers_nothing_else_that_it_says(numbers, request):
    figure = module_of(request.node.callspec.params["numbers"]).draw(numbers)
    boxes = [*boxes_of(figure)]
    assert len(boxes) > 8
    for i, (words, box) in enumerate(boxes):
        assert np.all(box.min >= figure.bbox.min - 1), words
        assert np.all(box.max <= figure.bbox.max + 1), words
        for others, other in boxes[:i]:
            assert not box.overlaps(other), (words, others)
