"""What ``fusedstep bench`` makes of measured times, and how it shows what is uncertain."""

import math

import numpy as np
import pytest

from fusedstep._bench import timing
from fusedstep._bench.ratio import Ratio
from fusedstep._cli import measurement
from fusedstep._cli.main import main

pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture
def measured(monkeypatch):
    """Replace the clock: the stretches of each contestant at 100 parameters, in nanoseconds."""

    def give(ours, numpy, roofline):
        known = {"fusedstep": ours, "roofline": roofline, "NumPy textbook": numpy}
        stretches = {
            name: [timing.Stretch(median * 1e-9, mean * 1e-9) for median, mean in pairs]
            for name, pairs in known.items()
        }
        result = measurement.Timing(100, stretches, 33.3)
        monkeypatch.setattr(measurement, "measure", lambda *_: (result, {}))

    return give


def numbers(stdout, label):
    """What stands in the row of this label."""
    [line] = [line for line in stdout.splitlines() if line.strip().startswith(label)]
    return line.strip().removeprefix(label).split(maxsplit=1)


STEADY = [(100, 100)] * 9


def test_a_steady_measurement_bears_no_mark(measured, without, capsys):
    without("matplotlib", "torch")
    # Two rounds of nine went wrong.
    measured(STEADY, [(450, 450)] * 8 + [(9000, 450)], [(50, 50)] * 8 + [(1, 50)])
    assert main(["bench", "-q", "-r", "sgd", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert numbers(said, "100 ") == ["1.000", "50%                 4.5x"]
    assert "on average" not in said
    assert "~" not in said


def test_an_uncertain_ratio_is_marked_and_shown(measured, without, capsys):
    without("matplotlib", "torch")
    measured(STEADY, [(100 * i, 100 * i) for i in range(1, 10)], STEADY)
    assert main(["bench", "-q", "-r", "sgd", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert numbers(said, "100 ")[1].split(maxsplit=1) == ["100%", "~5.0x (2.0-8.0)"]
    assert "\n~: uncertain. In brackets an interval" in said


def test_no_share_of_the_roofline_where_times_were_not_steady(measured, without, capsys):
    without("matplotlib", "torch")
    waits = [(100 * i, 100 * i) for i in range(1, 10)]  # both waited alike: their ratio is 1
    measured(waits, waits, waits)
    assert main(["bench", "-q", "-r", "sgd", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert numbers(said, "100 ") == ["~5.000", "1.0x"]


def test_stalls_have_a_line_of_their_own(measured, without, capsys):
    without("matplotlib", "torch")
    measured([(100, 100)] * 8 + [(100, 1000)], [(300, 400)] * 9, STEADY)
    assert main(["bench", "-q", "-r", "sgd", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert numbers(said, "100 ")[1].split() == ["100%", "3.0x"]
    assert numbers(said, "on average  ") == ["2.000", "2.0x"]
    assert "up to 33 times a second" in said


def test_the_picture_shows_intervals_and_stalls(measured, without, monkeypatch):
    pytest.importorskip("matplotlib")
    without("torch")
    measured(STEADY, [(100 * i, 2000) for i in range(1, 10)], STEADY)
    axes = []
    monkeypatch.setattr(
        "fusedstep._cli.bench_figure.rendered", lambda figure, _: axes.extend(figure.axes) or b""
    )
    assert main(["bench", "-q", "-r", "sgd", "--sizes", "100"]) == 0
    [ax] = axes
    bars = {drawn.get_label(): drawn for drawn in ax.containers}
    assert bars.keys() >= {"fusedstep", "NumPy textbook"}
    points, _, [interval] = bars["NumPy textbook"]
    np.testing.assert_allclose(points.get_xydata(), [[100, 5.0]])
    np.testing.assert_allclose(interval.get_segments()[0], [[100, 2.0], [100, 8.0]])
    means = [line for line in ax.lines if line.get_marker() == "x" and len(line.get_xdata())]
    np.testing.assert_allclose([line.get_xydata() for line in means], [[[100, 20.0]]])
    assert "mean, with all stalls" in {line.get_label() for line in ax.lines}


def test_the_interval_is_the_one_of_order_statistics():
    for n in range(1, 40):
        _, low, high = Ratio.with_interval(range(n))
        assert low + high == n - 1
        # Of n tosses of a coin: fewer than so many heads, or fewer than so many tails.
        outside = 2 * sum(math.comb(n, k) for k in range(low + 1)) / 2**n
        one_more = outside + 2 * math.comb(n, low + 1) / 2**n
        assert low == 0 or outside <= 0.05
        assert one_more > 0.05 or n == 1
    assert Ratio.with_interval(range(9)) == (4, 1, 7)
