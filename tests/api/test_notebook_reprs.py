"""What notebooks show of optimizers, groups and schedules."""

import dataclasses
import re

import numpy as np
import pytest

import fusedstep as fs
from cases import RULES, same_bits
from notebook_html import parsed, table, words
from schedule_examples import EXAMPLES


def line_of(document):
    """The points of the plot."""
    (line,) = document.iter("{http://www.w3.org/2000/svg}polyline")
    return [tuple(map(float, point.split(","))) for point in line.get("points").split()]


@pytest.mark.parametrize("rule", RULES)
def test_an_optimizer_says_what_it_is_and_holds(rule):
    params = {"w": np.zeros((100, 20), np.float32), "b": np.zeros(20)}
    opt = fs.create(rule, params, ema_decay=0.5)
    opt.step({name: np.ones_like(param) for name, param in params.items()})
    document = parsed(opt)
    facts = words(document[0]).split(" · ")
    with fs.num_threads(1):
        assert "1 thread" in words(parsed(opt)[0])
    assert facts[:2] == [type(opt).__name__, f"2 arrays, 2,020 parameters ({8160 / 1024:.3g} KiB)"]
    assert facts[2] == f"state {opt.state_bytes / 1024:.3g} KiB"
    assert facts[3] == "step 1"
    assert facts[4].startswith(f"{fs.isa()}, ")
    options = dict(opt.groups[0])
    assert table(document) == {"arrays": ["2"], "parameters": ["2,020"], "lr": [str(opt.lr)]}
    options.pop("lr")
    assert (
        words(document[2]) == f"by default: {', '.join(f'{k}={v!r}' for k, v in options.items())}"
    )


def test_groups_are_columns():
    groups = [{"params": [np.zeros(3)]}, {"params": [np.zeros(4), np.zeros(5)], "lr": 0.5}]
    shown = table(parsed(fs.AdamW(groups, lr=0.25)))
    assert shown[""] == ["group 0", "group 1"]
    assert shown["arrays"] == ["1", "2"]
    assert shown["parameters"] == ["3", "9"]
    assert shown["lr"] == ["0.25", "0.5"]
    many = fs.SGD([{"params": [np.zeros(3)]} for _ in range(100)])
    assert "weight_decay" not in shown
    assert "weight_decay=0.01, " in words(parsed(fs.AdamW(groups))[2])
    other = fs.AdamW([*groups[:1], {**groups[1], "weight_decay": 0.5}])
    assert table(parsed(other))["weight_decay"] == ["0.01", "0.5"]
    assert table(parsed(many))["lr"] == [*["0.001"] * 8, "..."]


def test_a_group():
    opt = fs.AdamW({"w": np.zeros(3), "b": np.zeros(2)}, weight_decay=0.5)
    document = parsed(opt.groups[0])
    assert words(document[0]) == "Group · 2 parameters: w, b"
    assert table(document)["weight_decay"] == ["0.5"]


HOSTILE = "<script>alert(1)</script>&\"'\0\x1b[31m\ud800" + "x" * 1000


class Named:
    """A schedule whose text may be anything."""

    def __call__(self, step):
        return 0.1 + 0 * step

    def __repr__(self):
        return HOSTILE


def test_names_are_text():
    opt = fs.Adam({HOSTILE: np.zeros(3)}, lr=Named())
    for thing in (opt, opt.groups[0]):
        assert "<script" not in thing._repr_html_()
        parsed(thing)
    assert "<script>alert(1)</script>" in words(parsed(opt.groups[0]))

    class Odd(fs.SGD):
        pass

    Odd.__name__ = "<b>&"
    assert words(parsed(Odd(np.zeros(3)))[0]).startswith("<b>& · ")


@pytest.mark.parametrize("schedule", EXAMPLES.values(), ids=EXAMPLES)
def test_a_schedule_is_drawn_as_it_is(schedule):
    document = parsed(schedule)
    assert words(document[0]) == repr(schedule)
    labels = [words(text) for text in document.iter("{http://www.w3.org/2000/svg}text")]
    steps = int(labels[2].removeprefix("step ").replace(",", ""))
    (frame,) = document.iter("{http://www.w3.org/2000/svg}path")
    left, top, bottom, right = map(float, re.findall(r"[\d.]+", frame.get("d")))
    points = line_of(document)
    rates = [schedule(round((x - left) / (right - left) * steps)) for x, _ in points]
    highest = max(rates)
    assert labels[:2] == [f"{highest:.3g}", "0"]
    for (_, y), rate in zip(points, rates, strict=True):
        assert abs((bottom - y) / (bottom - top) - rate / highest) < 0.07  # x is rounded
    assert points[0][0] == left
    assert points[-1][0] == right
    total = getattr(schedule, "total_steps", steps)
    assert steps == total


def test_a_schedule_of_an_optimizer_has_a_mark_where_it_is():
    schedule = fs.schedules.Linear(1.0, total_steps=10)
    opt = fs.SGD([{"params": [np.zeros(3)]}, {"params": [np.zeros(3)]}], lr=schedule)
    for _ in range(5):
        opt.step([np.zeros(3)] * 2)
    (dot,) = parsed(opt).iter("{http://www.w3.org/2000/svg}circle")  # groups share it
    points = line_of(parsed(opt))
    assert float(dot.get("cx")) == pytest.approx((points[0][0] + points[-1][0]) / 2, abs=0.1)
    assert float(dot.get("cy")) == pytest.approx((points[0][1] + points[-1][1]) / 2, abs=0.1)
    for _ in range(15):
        opt.step([np.zeros(3)] * 2)
    assert "step 20" in words(parsed(opt)[-1])  # it reaches as far as the run


def test_a_schedule_that_ends_is_drawn_to_its_end():
    def ending(step):
        if step > 500:
            raise ValueError("the run is over")
        return 0.5

    points = line_of(parsed(fs.schedules.Warmup(ending, 1000)))
    assert len(points) == 151
    growing = fs.schedules.Exponential(1.0, gamma=1e300)
    assert len(list(parsed(growing).iter("{http://www.w3.org/2000/svg}polyline"))) <= 1
    assert len(parsed(fs.schedules.Constant(0.0))) == 2


def test_a_function_is_not_called():
    calls = []
    opt = fs.SGD(np.zeros(3), lr=lambda step: calls.append(step) or 0.5)
    calls.clear()
    document = parsed(opt)
    assert table(document)["lr"] == ["0.5 (function)"]
    assert calls == []


def test_showing_changes_nothing():
    plateau = fs.schedules.Plateau(fs.schedules.Cosine(0.1, total_steps=10), patience=0)
    plateau.update(1.0)
    w = np.ones((3, 2), np.float32)
    opt = fs.AdamW({"w": w}, lr=plateau, state_dtype="bfloat16")
    opt.step({"w": w.copy()})
    saved, state, before = opt.state_dict(), plateau.state_dict(), w.copy()
    for thing in (opt, opt.groups[0], plateau):
        assert thing._repr_html_() == thing._repr_html_()
    assert same_bits(w, before)
    assert plateau.state_dict() == state
    after = opt.state_dict()
    assert same_bits(after["state"]["w"].pop("exp_avg"), saved["state"]["w"].pop("exp_avg"))
    assert dataclasses.is_dataclass(plateau)
    assert after["groups"] == saved["groups"]
    assert after["step_count"] == saved["step_count"] == 1


def test_torch_tensors_and_narrow_arrays():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    opt = fs.Adam(torch.nn.Linear(3, 2, dtype=torch.bfloat16).parameters())
    assert "2 arrays, 8 parameters (16 B) · state 64 B" in words(parsed(opt)[0])
