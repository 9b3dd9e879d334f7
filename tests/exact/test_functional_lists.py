"""A function over lists has the bits of one call for each array."""

import numpy as np
import pytest

import fusedstep as fs
from cases import every_case, every_dtype, same_bits, state_shape
from fusedstep._definition import registry
from optimizers import states_of

SHAPES = [(3, 5), (7,), (), (0, 2), (100,)]


def arrays(seed, dtype, kind=lambda shape: shape):
    rng = np.random.default_rng(seed)
    return [np.array(rng.random(kind(shape)) + 0.5, dtype) for shape in SHAPES]


@every_case
@every_dtype
@pytest.mark.parametrize("step", [3, [1, 2, 3, 4, 5]])
def test_lists(rule, options, dtype, step):
    function = getattr(fs.functional, rule)
    names = states_of(rule, options)

    def made():
        states = [arrays(k, dtype, lambda s: state_shape(rule, s)) for k, _ in enumerate(names, 3)]
        return arrays(1, dtype), arrays(2, dtype), *states

    ours, theirs = made(), made()
    assert function(*ours, step=step, **options) is None
    steps = [step] * len(SHAPES) if isinstance(step, int) else step
    for count, *own in zip(steps, *theirs, strict=True):
        function(*own, step=count, **options)
    for mine, others in zip(ours, theirs, strict=True):
        assert all(same_bits(a, b) for a, b in zip(mine, others, strict=True))


BAD = {
    "gradients": (lambda p, g, m, v: ((p, g[:1], m, v), 1), TypeError, "gradients: expected 2"),
    "one gradient": (
        lambda p, g, m, v: ((p, g[0], m, v), 1),
        TypeError,
        "gradients: expected a list",
    ),
    "states": (lambda p, g, m, v: ((p, g, m[:1], v), 1), TypeError, "exp_avg: expected 2"),
    "steps": (lambda p, g, m, v: ((p, g, m, v), [1]), TypeError, "step: expected 2"),
    "step 0": (lambda p, g, m, v: ((p, g, m, v), [1, 0]), ValueError, "step: expected an integer"),
    "None": (lambda p, g, m, v: ((p, [g[0], None], m, v), 1), TypeError, "gradient of '1'"),
    "shape": (
        lambda p, g, m, v: ((p, [g[0], np.ones(4)], m, v), 1),
        ValueError,
        "gradient of '1': expected shape",
    ),
    "state": (
        lambda p, g, m, v: ((p, g, m, [v[0], np.ones(4)]), 1),
        ValueError,
        "exp_avg_sq of '1': expected shape",
    ),
    "one parameter": (lambda p, g, m, v: ((p[0], g[0], m[0], v[0]), [1]), TypeError, "step: "),
    "empty": (lambda p, g, m, v: (([], [], [], []), 1), ValueError, "params: expected at least"),  # noqa: ARG005
}


@pytest.mark.parametrize(("spoil", "error", "words"), BAD.values(), ids=BAD)
def test_lists_that_do_not_fit(spoil, error, words):
    lists = [[np.ones(3), np.ones(5)] for _ in range(4)]
    given, step = spoil(*lists)
    with pytest.raises(error) as caught:
        fs.functional.adam(*given, step=step)
    assert words in str(caught.value)
    assert all(np.all(array == 1) for own in lists for array in own)


def test_every_rule_documents_them():
    assert "lists" in fs.functional.__doc__
    assert all("lists" in getattr(fs.functional, rule).__doc__ for rule in registry if rule)
