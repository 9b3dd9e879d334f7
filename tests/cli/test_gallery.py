"""`fusedstep.gallery`: landscapes, paths, and what is drawn of them."""

import doctest
import io
import math
from itertools import pairwise

import numpy as np
import pytest

import fusedstep as fs
from fusedstep import gallery

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")

LANDSCAPES = {"ravine": gallery.RAVINE, "saddle": gallery.SADDLE, "plateau": gallery.PLATEAU}


def pixels(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=60)
    return np.asarray(Image.open(buffer).convert("RGB")).astype(int)


def boxes(ax):
    """The extents of the labels of an Axes, in pixels."""
    ax.figure.draw_without_rendering()
    return {text.get_text(): text.get_window_extent() for text in ax.texts}


def distance(box, point):
    """From a box to a point; 0 within."""
    return np.hypot(*np.maximum(np.maximum(box.min - point, point - box.max), 0))


# Landscapes and paths ----------------------------------------------------------------------------


def test_examples():
    done = doctest.testmod(gallery)
    assert done.failed == 0
    assert done.attempted > 5


@pytest.mark.parametrize("name", LANDSCAPES)
def test_gradients_are_those_of_the_function(name):
    given = LANDSCAPES[name]
    numerical = gallery.Landscape(given.function)
    rng = np.random.default_rng(1)
    for point in rng.uniform((given.x_range[0], -1), (given.x_range[1], 1), (50, 2)):
        assert np.allclose(given.slope(point), numerical.slope(point), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("name", LANDSCAPES)
def test_marked_points_are_flat(name):
    landscape = LANDSCAPES[name]
    [(mark, point)] = landscape.marks.items()
    assert mark == ("saddle" if name == "saddle" else "minimum")
    assert np.abs(landscape.slope(point)).max() < 1e-3


def test_a_function_of_the_standard_library_will_do():
    landscape = gallery.Landscape(lambda x, y: math.sin(x) * math.exp(y), start=(1.0, 0.5))
    assert landscape.height((1, 0)) == math.sin(1)
    assert np.allclose(landscape.slope((1, 0)), [math.cos(1), math.sin(1)], atol=1e-9)
    paths = gallery.descend(landscape, updates=3)
    assert len(pixels(gallery.plot_paths(landscape, paths))) > 100


def test_paths_are_what_the_optimizers_do():
    landscape = gallery.RAVINE
    rules = {"fast": fs.SGD, "slow": fs.Lion}
    calls = []
    paths = gallery.descend(
        landscape,
        rules,
        lr={"fast": 0.1, "slow": 0.01},
        updates=7,
        advance=lambda: calls.append(1),
    )
    assert list(paths) == ["fast", "slow"]
    assert len(calls) == 14
    for name, lr in (("fast", 0.1), ("slow", 0.01)):
        point = np.array(landscape.start)
        opt = rules[name](point, lr=lr)
        for visited in paths[name]:
            assert np.array_equal(visited, point)
            opt.step(np.array([0.2, 19.0]) * point)
        assert paths[name].shape == (8, 2)


def test_the_rules_of_the_lecture():
    options = {name: make(np.zeros(1), lr=1.0).groups[0] for name, make in gallery.LECTURE.items()}
    assert list(options) == ["SGD", "Momentum", "Adagrad", "RMSprop", "Adam"]
    for name in ("Adagrad", "RMSprop"):
        assert options[name]["eps"] == 1e-8
        assert options[name]["eps_inside_sqrt"] is True
    assert options["Momentum"]["beta"] == 0.9
    assert options["RMSprop"]["alpha"] == 0.9
    assert options["Adam"]["betas"] == (0.9, 0.999)


# Figures -----------------------------------------------------------------------------------------


def test_a_figure_of_a_function_of_ones_own():
    landscape = gallery.Landscape(lambda x, y: x**4 + y**2)
    figure = gallery.plot_paths(landscape, gallery.descend(landscape), title="Mine", note="so")
    land, heights = figure.axes
    assert figure.get_suptitle() == "Mine"
    assert land.get_aspect() == 1  # a circle is drawn round
    assert heights.get_xlabel() == "update\nso"
    for ax in figure.axes:
        assert {*gallery.LECTURE} <= {text.get_text() for text in ax.texts}
        drawn = {line.get_label(): line.get_color() for line in ax.lines}
        for text in ax.texts:
            assert text.get_color() == drawn[text.get_text()]


@pytest.mark.parametrize("name", LANDSCAPES)
def test_labels_stand_at_their_lines_and_on_nothing(name):
    landscape = LANDSCAPES[name]
    figure = gallery.plot_paths(landscape, gallery.descend(landscape))
    for ax in figure.axes:
        labels = boxes(ax)
        assert len(labels) >= 5
        inside = ax.get_window_extent()
        for text, box in labels.items():
            assert inside.contains(*box.min)
            assert inside.contains(*box.max)
            others = [other for key, other in labels.items() if key != text]
            assert not [other for other in others if box.overlaps(other)]
            [line] = [line for line in ax.lines if line.get_label() == text]
            corners = ax.transData.transform(line.get_xydata())
            points = [*corners, *(p for a, b in pairwise(corners) for p in np.linspace(a, b, 20))]
            assert min(distance(box, point) for point in points) < 0.5 * figure.dpi


def test_a_tall_map_is_no_taller_than_a_page():
    landscape = gallery.Landscape(
        lambda x, y: x * x + y, start=(0.5, 8.0), x_range=(0.0, 1.0), y_range=(0.0, 10.0)
    )
    figure = gallery.plot_paths(landscape, gallery.descend(landscape, {"SGD": fs.SGD}))
    assert figure.get_figheight() < 10
    land, _ = figure.axes
    inside = land.get_window_extent()
    assert inside.height == pytest.approx(10 * inside.width)
    for box in boxes(land).values():
        assert inside.contains(*box.min)


def test_a_label_on_a_logarithmic_scale():
    figure = gallery.blank_figure(5, 3)
    ax = figure.subplots()
    (line,) = ax.semilogy([1e-3, 1e-9, 1e-6], label="falls and rises")
    ax.semilogy([1e-4, 1e-4, 1e-4], "o")
    labels = gallery.label_lines(ax)
    assert list(labels) == [line]
    [box] = boxes(ax).values()
    assert ax.get_window_extent().contains(*box.min)
    assert ax.get_window_extent().contains(*box.max)


def test_colours_are_of_okabe_and_ito_and_differ():
    names = ["SGD", "mine", "Adam", "yours", "theirs", *"abc"]
    styles = gallery.styles_of(names)
    assert list(styles) == names
    assert styles["SGD"] == gallery.styles_of(["Adam", "SGD"])["SGD"]
    assert len({style["color"] for style in styles.values()}) == len(names)
    assert {style["color"] for style in styles.values()} <= {*gallery.COLOURS.values()}
    assert len(gallery.styles_of(map(str, range(20)))) == 20


def test_what_leaves_the_map_is_not_in_the_way():
    landscape = gallery.Landscape(lambda x, y: x**2 + y**2, start=(1.0, 1.0))
    paths = gallery.descend(
        landscape, {"SGD": fs.SGD, "too fast": fs.SGD}, lr={"SGD": 0.1, "too fast": 3}
    )
    assert np.abs(paths["too fast"]).max() > 1e20
    land, heights = gallery.plot_paths(landscape, paths).axes
    assert land.get_xlim() == landscape.x_range
    assert heights.get_ylim()[1] < 10


# Animations --------------------------------------------------------------------------------------


def test_an_animation_shows_update_after_update(tmp_path):
    landscape = gallery.SADDLE
    paths = gallery.descend(landscape, updates=9)
    calls = []
    animation = gallery.animate_paths(landscape, paths, title="Saddle")
    animation.save(tmp_path / "a.gif", advance=lambda: calls.append(1))
    assert animation.n_frames == len(calls) == 10
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == 10
        assert gif.info["loop"] == 0
        frames, durations = [], []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    assert durations == [100] * 9 + [2000]
    # Paths cover more and more of the map, and the last frame is the figure.
    changed = [int((np.abs(frame - frames[0]).max(axis=2) > 60).sum()) for frame in frames]
    assert changed[0] == 0
    assert all(a < b for a, b in pairwise(changed[:5]))
    figure = gallery.plot_paths(landscape, paths, title="Saddle")
    figure.set_dpi(80)
    figure.canvas.draw()
    whole = np.asarray(figure.canvas.buffer_rgba())[..., :3].astype(int)
    assert whole.shape == frames[-1].shape
    assert np.abs(whole - frames[-1]).mean() < 2
    # Every rule has its colour in every frame.
    for frame in frames:
        for colour in ("grey", "orange", "green", "blue", "vermilion"):
            rgb = [int(gallery.COLOURS[colour][i : i + 2], 16) for i in (1, 3, 5)]
            assert np.abs(frame - rgb).max(axis=2).min() < 12, colour


def test_a_notebook_shows_an_animation():
    animation = gallery.animate_paths(gallery.RAVINE, {"SGD": [(0, 0), (1, 1)]}, title="T")
    html = animation._repr_html_()
    assert html.startswith('<img src="data:image/gif;base64,R0lGOD')
    assert html.endswith('alt="T">')
