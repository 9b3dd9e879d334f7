"""Optimizers over three arrays, and proof that a failing call has changed nothing."""

from contextlib import contextmanager
from functools import cache

import numpy as np
import pytest

import fusedstep as fs
from cases import option_sets, same_bits

NAMES = ("first", "middle", "last")
OTHER = {"float32": "float64", "float64": "float32"}


def states_of(rule, options):
    """The names of the state that these options give the rule."""
    own = fs.create(rule, np.zeros(1), **options).state["param"]
    return [name for name in own if name != "step"]


@cache
def richest(rule):
    """Options that give the rule all the state that it can have."""
    return max(option_sets(rule), key=lambda options: len(states_of(rule, options)))


def numbers(seed, dtype, shape=(3, 5), names=NAMES):
    """Arrays by name."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name in names}


def running(rule, dtype, shape=(3, 5)):
    """An optimizer over three arrays that has all its state and has made two steps."""
    opt = fs.create(rule, numbers(1, dtype, shape), **richest(rule))
    for seed in (2, 3):
        opt.step(numbers(seed, dtype, shape))
    return opt


def image(thing):
    """All that can be seen of an array, down to its bytes."""
    if not isinstance(thing, np.ndarray):
        return repr(thing)
    a = np.asarray(thing)
    return a.dtype.str, a.shape, a.strides, a.flags.writeable, a.ctypes.data, a.tobytes("A")


def everything(opt, *others):
    """All that a failing call must leave as it was."""
    return (
        {name: image(param) for name, param in opt.params.items()},
        {name: {k: image(v) for k, v in own.items()} for name, own in opt.state.items()},
        [{**group, "rate": group.lr, "params": group.params} for group in opt.groups],
        opt.step_count,
        [image(other) for other in others],
    )


def viewed(array):
    return array if isinstance(array, np.ndarray) else np.from_dlpack(array)


def same_everywhere(opt, control):
    """Parameters and state to the last bit, and counters."""
    if opt.step_count != control.step_count or [*opt.state] != [*control.state]:
        return False
    for name in opt.state:
        mine, theirs = dict(opt.state[name]), dict(control.state[name])
        if mine.pop("step") != theirs.pop("step") or [*mine] != [*theirs]:
            return False
        pairs = [(mine[state], theirs[state]) for state in mine]
        pairs.append((viewed(opt.params[name]), viewed(control.params[name])))
        if not all(same_bits(a, b) for a, b in pairs):
            return False
    return True


@contextmanager
def refused(opt, error, *words, untouched=()):
    """The body raises exactly `error` with `words` in its message, and nothing has moved."""
    before = everything(opt, *untouched)
    with pytest.raises(error) as caught:
        yield
    assert everything(opt, *untouched) == before
    complains(caught, error, *words)


def complains(caught, error, *words):
    """The exception is of exactly this class, and its message has all the words."""
    assert caught.type is error
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message


TAKES_DLPACK = np.lib.NumpyVersion(np.__version__) >= "2.1.0"
needs_dlpack = pytest.mark.skipif(not TAKES_DLPACK, reason="views through DLPack take NumPy 2.1")


def locked(array):
    array.setflags(write=False)
    return array
