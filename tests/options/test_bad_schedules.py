"""Schedules whose rates must be refused, before anything has moved."""

import math

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import NAMES, complains, numbers, refused


def breaks(exception):
    raise exception


BAD_RATES = {
    "nan": (lambda: math.nan, ValueError, "got nan"),
    "negative": (lambda: -1, ValueError, "got -1"),
    "negative float": (lambda: -0.5, ValueError, "got -0.5"),  # as almost all rates are
    "infinite": (lambda: math.inf, ValueError, "got inf"),
    "str": (lambda: "x", TypeError, "got 'x'"),
    "None": (lambda: None, TypeError, "got None"),
    "list": (lambda: [0.1], TypeError, "got [0.1]"),
    "raises": (lambda: breaks(RuntimeError("broken")), RuntimeError, "broken"),
}
every_bad_rate = pytest.mark.parametrize(
    ("make", "error", "got"), BAD_RATES.values(), ids=BAD_RATES
)


@every_rule
@every_bad_rate
@pytest.mark.parametrize("bad_group", [0, 1, 2])
def test_bad_schedules(rule, make, error, got, bad_group):
    broken, good = set(), numbers(4, "float32")

    def bad_later(step):
        return make() if step in broken else 0.1 / (1 + step)

    groups = [
        {"params": {n: a}, "lr": bad_later if i == bad_group else (lambda step: 0.5 / (1 + step))}
        for i, (n, a) in enumerate(numbers(1, "float32").items())
    ]
    opt = fs.create(rule, groups)
    opt.step(good)
    opt.bind(good)
    words = [got] if error is RuntimeError else ["lr", "schedule", "step 1", "expected", got]
    for call in (opt.step, lambda: opt.step(good), lambda: opt.step_mean([good, good])):
        seen = everything_but_rates(opt)
        broken.add(1)
        with pytest.raises(error) as caught:
            call()
        broken.clear()
        complains(caught, error, *words)
        assert everything_but_rates(opt) == seen

    control = fs.create(rule, {n: a.copy() for n, a in opt.params.items()}, lr=0.1)
    for place in (control, control.groups[0]):
        broken.add(0)
        with refused(control, error, got):
            place.lr = bad_later if place is control else place.__setitem__("lr", bad_later)
        broken.clear()
    broken.add(0)
    with pytest.raises(error):
        fs.create(rule, numbers(1, "float32"), lr=bad_later)


def everything_but_rates(opt):
    arrays = [a for name in NAMES for a in (opt.params[name], *opt.state[name].values())]
    return [a.tobytes() if isinstance(a, np.ndarray) else a for a in arrays], opt.step_count
