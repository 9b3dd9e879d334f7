"""Every demo: that it runs, that its figure shows its numbers, and that these say what the lecture says."""

import contextlib
import importlib
import io
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import gallery
from fusedstep._cli.demos import DEMOS
from fusedstep._cli.figures import rendered
from fusedstep._cli.main import main
from short_demos import shortened

for library in ("matplotlib", "ml_dtypes", "sklearn", "tqdm"):
    pytest.importorskip(library)

pytestmark = pytest.mark.xdist_group("gallery")  # one worker, which runs each demo once
NAMES = [demo.name for demo in DEMOS]
MODULES = {demo.name: importlib.import_module(demo.module) for demo in DEMOS}
ANIMATED = [demo.name for demo in DEMOS if demo.animated]


def computed(name, seed=0):
    """The numbers, and how often they said that they were one unit further."""
    calls = []
    numbers = MODULES[name].compute(seed, lambda: calls.append(1))
    return numbers, len(calls)


def untimed(numbers):
    return {key: value for key, value in numbers.items() if key != "timings"}


@pytest.fixture(scope="module", params=NAMES)
def demo(request, tmp_path_factory):
    """One run of each, with JSON and an SVG: name, numbers, folder."""
    folder = tmp_path_factory.mktemp(request.param)
    printed = io.StringIO()
    with shortened(request.param), contextlib.redirect_stdout(printed):
        args = ["demo", request.param, "--json", "-q", "-f", "svg", "-s", "3", "-o", str(folder)]
        assert main(args) == 0
    return request.param, json.loads(printed.getvalue(), parse_constant=pytest.fail), folder


# Each demo ---------------------------------------------------------------------------------------


def test_it_writes_its_files(demo):
    name, _, folder = demo
    expected = {f"{name}.svg", *([f"{name}.gif"] if name in ANIMATED else [])}
    assert {path.name for path in folder.iterdir()} == expected
    root = ET.parse(folder / f"{name}.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) > 10
    for gif in folder.glob("*.gif"):
        assert gif.read_bytes().startswith(b"GIF89a")
        assert gif.stat().st_size < 600_000


def test_its_figure_shows_its_numbers_and_nothing_else(demo, monkeypatch):
    name, numbers, folder = demo
    for source in ("fusedstep.optimizer.Optimizer.step", "numpy.random.default_rng"):
        monkeypatch.setattr(source, lambda *_, **__: pytest.fail("it computes while it draws"))
    figure = MODULES[name].draw(numbers)
    assert rendered(figure, "svg") == (folder / f"{name}.svg").read_bytes()
    png = rendered(MODULES[name].draw(numbers), "png")
    assert png.startswith(b"\x89PNG")
    assert len(png) < 150_000
    assert MODULES[name].report(numbers).strip()


def test_its_figure_is_labelled_at_the_lines(demo):
    name, numbers, _ = demo
    figure = MODULES[name].draw(numbers)
    assert not figure.legends
    assert not [ax for ax in figure.axes if ax.get_legend()]
    for ax in figure.axes:
        assert ax.get_xlabel() or ax.get_ylabel() or ax.get_title("left")


def test_the_same_seed_gives_the_same_numbers(demo):
    name, numbers, _ = demo
    with shortened(name):
        again, calls = computed(name, seed=3)
        assert calls == MODULES[name].N_UNITS
    assert untimed(json.loads(json.dumps(again))) == untimed(numbers)


def test_another_seed_gives_others():
    first, second = (computed("ema", seed)[0] for seed in (0, 1))
    assert first["series"] != second["series"]


# Ravine, saddle, plateau -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ANIMATED)
def test_paths_are_what_the_optimizers_do(name):
    numbers, _ = computed(name)
    landscape = getattr(gallery, name.upper())
    assert list(numbers["paths"]) == list(gallery.LECTURE)
    for rule, path in numbers["paths"].items():
        assert path[0] == list(landscape.start)
        assert len(path) == len(numbers["heights"][rule]) == numbers["updates"] + 1
        assert numbers["heights"][rule] == [landscape.height(point) for point in path]
        # All of it is on the map.
        x, y = np.array(path).T
        assert landscape.x_range[0] <= x.min() <= x.max() <= landscape.x_range[1]
        assert landscape.y_range[0] <= y.min() <= y.max() <= landscape.y_range[1]
    x_start, y_start = landscape.start
    gx, gy = landscape.slope(landscape.start)
    lr = numbers["learning_rates"]["SGD"]
    assert numbers["paths"]["SGD"][1] == pytest.approx([x_start - lr * gx, y_start - lr * gy])
    assert len({numbers["learning_rates"][rule] for rule in ("Adagrad", "RMSprop", "Adam")}) == 1


def test_in_the_ravine():
    numbers, _ = computed("ravine")
    paths = {rule: np.array(path) for rule, path in numbers["paths"].items()}
    along = {rule: path[-1, 0] for rule, path in paths.items()}
    # SGD crosses the ravine at every update; nobody else does.
    crossings = {rule: int((np.diff(np.sign(p[:, 1])) != 0).sum()) for rule, p in paths.items()}
    assert crossings["SGD"] == numbers["updates"]
    assert max(n for rule, n in crossings.items() if rule != "SGD") < numbers["updates"] / 2
    # The accumulated squares come least far; then SGD.
    assert sorted(along, key=along.get)[:2] == ["Adagrad", "SGD"]
    assert numbers["heights"]["RMSprop"][-1] == min(h[-1] for h in numbers["heights"].values())
    # SGD's rate is nearly the largest that there is for it.
    for lr, grows in ((2.1 / 19, True), (numbers["learning_rates"]["SGD"], False)):
        path = gallery.descend(gallery.RAVINE, {"SGD": fs.SGD}, lr=lr)["SGD"]
        assert (abs(path[-1, 1]) > abs(path[0, 1])) == grows


def test_at_the_saddle_sgd_is_slowest_to_leave():
    numbers, _ = computed("saddle")
    away = {rule: abs(path[-1][0]) for rule, path in numbers["paths"].items()}
    assert sorted(away, key=away.get) == ["SGD", "Momentum", "Adagrad", "Adam", "RMSprop"]
    assert np.hypot(*numbers["paths"]["SGD"][-1]) < 0.05  # it rests at the saddle
    assert away["RMSprop"] > 100 * away["SGD"]
    for rule in ("Adagrad", "RMSprop", "Adam"):
        assert numbers["heights"][rule][-1] < -0.2


def test_on_the_plateau():
    numbers, _ = computed("plateau")
    way = {rule: path[-1][0] - path[0][0] for rule, path in numbers["paths"].items()}
    assert max(way["SGD"], way["Momentum"]) < 0.5
    assert way["SGD"] < way["Adagrad"] < way["Adam"] / 3
    assert numbers["heights"]["RMSprop"][-1] < -1
    assert numbers["heights"]["Adam"][-1] < -0.3
    assert min(numbers["heights"][rule][-1] for rule in ("SGD", "Momentum", "Adagrad")) > 0


# Averages and rates ------------------------------------------------------------------------------


def test_the_averages_are_those_of_the_lecture():
    numbers, _ = computed("ema")
    series = numbers["series"]
    assert series[0] == pytest.approx(0.1, rel=1e-12)
    assert numbers["averages"]["0.9"][0] == pytest.approx(0.01, rel=1e-12)
    for beta in numbers["betas"]:
        v = 0.0
        pairs = zip(
            numbers["averages"][str(beta)], numbers["bias_corrected"][str(beta)], strict=True
        )
        for t, (x, (plain, corrected)) in enumerate(zip(series, pairs, strict=True), 1):
            v = beta * v + (1 - beta) * x
            assert plain == pytest.approx(v, rel=1e-12)
            assert corrected == pytest.approx(v / (1 - beta**t), rel=1e-12)
        assert numbers["bias_corrected"][str(beta)][0] == pytest.approx(series[0])
    # The longer it reaches back, the smoother it is, and the longer it needs.
    rough = [
        np.abs(np.diff(numbers["bias_corrected"][str(b)][50:])).mean() for b in (0.5, 0.9, 0.98)
    ]
    assert rough[0] > 3 * rough[1] > 9 * rough[2]
    starts = [numbers["averages"][str(beta)][9] for beta in (0.5, 0.9, 0.98)]
    assert starts == sorted(starts, reverse=True)


def test_accumulated_squares_starve():
    numbers, _ = computed("rates")
    lr, t = numbers["learning_rate"], np.arange(1, 1001)
    squares, average = (np.array(numbers["effective_rates"][r]) for r in ("Adagrad", "RMSprop"))
    assert np.allclose(squares, lr / np.sqrt(t + 1e-8), rtol=1e-9)
    assert np.allclose(average, lr / np.sqrt(1 - 0.9**t + 1e-8), rtol=1e-9)
    slope = np.polyfit(np.log(t), np.log(squares), 1)[0]
    assert slope == pytest.approx(-0.5, abs=1e-6)
    assert average[-1] == pytest.approx(lr, rel=1e-6)
    assert average.sum() > 15 * squares.sum()
