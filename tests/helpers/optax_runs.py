"""The same run here and in optax, from the same start and with the same gradients."""

import jax
import numpy as np
import optax

import fusedstep as fs

RATE = 1e-2


def nest(seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return {
        "layer": {
            "w": rng.standard_normal((7, 5)).astype(dtype),
            "b": rng.standard_normal(3).astype(dtype),
        },
        "scales": [rng.standard_normal(3).astype(dtype), np.asarray(rng.standard_normal(), dtype)],
    }


class Ours:
    def __init__(self, rule, lr=RATE, dtype=np.float32, **options):
        self.params = nest(dtype=dtype)
        self.opt = getattr(fs, rule)(self.params, lr=lr, **options)

    def step(self, i):
        self.opt.step(nest(i + 1, self.params["layer"]["w"].dtype))


class Theirs:
    def __init__(self, rule, dtype=np.float32):
        self.rule = rule
        self.params = jax.tree.map(jax.numpy.asarray, nest(dtype=dtype))
        self.state = rule.init(self.params)

    def step(self, i):
        grads = jax.tree.map(jax.numpy.asarray, nest(i + 1, self.params["layer"]["w"].dtype))
        updates, self.state = self.rule.update(grads, self.state, self.params)
        self.params = optax.apply_updates(self.params, updates)


def give_parameters(theirs, ours):
    jax.tree.map(lambda to, value: np.copyto(to, value), ours.params, theirs.params)


def take_parameters(theirs, ours):
    theirs.params = jax.tree.map(jax.numpy.array, ours.params)


def steps(numbers, *runs):
    for i in numbers:
        for run in runs:
            run.step(i)


def bits(value):
    return np.asarray(value).tobytes(), np.asarray(value).dtype, np.asarray(value).shape


def assert_same_tree(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    assert [*map(bits, jax.tree.leaves(one))] == [*map(bits, jax.tree.leaves(other))]


def saved_bits(opt):
    saved = opt.state_dict()
    return {
        **saved,
        "state": {n: {k: bits(v) for k, v in s.items()} for n, s in saved["state"].items()},
    }
