"""Narrow parameters, gradients and states on a device: the CPU's bits in every mode of every rule."""

import numpy as np
import pytest

import fusedstep as fs
from cases import LAYERWISE, RULES, same_bits
from cuda_libraries import Field
from narrow_modes import FORMATS, MODES, bits, grid, ids, name_of, numbers, storage

# Across the borders of blocks that share a scale, of warps' work and of chunks.
SIZES = {"empty": 0, "small": 5, "block": 128, "some": 2_049, "more": 5_003}
CASES = list(grid())
ADAM = list(grid(["adamw"], lambda _: [{}]))
every_mode = pytest.mark.parametrize("mode", MODES, ids=name_of)


class Both:
    """An optimizer on the CPU and one on the device, which are given the same numbers."""

    def __init__(self, library, rule, start, **options):
        self.library, self.names = library, list(start)
        self.params = Field(library, list(start.values()))
        self.host = fs.create(rule, {n: p.copy(order="K") for n, p in start.items()}, **options)
        self.device = fs.create(rule, self._named(self.params), **options)

    def _named(self, field):
        return dict(zip(self.names, field.arrays, strict=True))

    def step(self, grads, **call):
        there = Field(self.library, list(grads.values()), seed=2)
        here = {name: grad.copy(order="K") for name, grad in grads.items()}
        expected = self.host.step(here, **call)
        got = self.device.step(self._named(there), **call)
        if expected.grad_norm is not None:
            norm = np.array(self.library.get(got.grad_norm)).reshape(())
            assert same_bits(norm, np.array(expected.grad_norm))
        for ours, theirs in zip(here.values(), there.read(), strict=True):
            assert same_bits(bits(ours), bits(theirs))

    def check(self):
        for (name, ours), theirs in zip(self.host.params.items(), self.params.read(), strict=True):
            assert same_bits(bits(ours), bits(theirs)), name
            own, other = self.host.state[name], self.device.state[name]
            assert own.keys() == other.keys()
            for key in own.keys() - {"step"}:
                assert same_bits(own[key], self.library.get(other[key])), (name, key)
            assert own["step"] == other["step"]


@pytest.fixture
def skip_unless_there_is(library):
    def skip(mode):
        if mode["param"] == "bfloat16" and not library.bfloat16:
            pytest.skip("needs a library with bfloat16")

    return skip


def draw(rng, dtype, sizes=SIZES):
    return {name: numbers(rng, size, dtype) for name, size in sizes.items()}


def gradients(library, rng, turn):
    """One array after the other of another format."""
    formats = [f for f in FORMATS if f != "bfloat16" or library.bfloat16]
    return {
        name: numbers(rng, size, formats[(turn + i) % len(formats)])
        for i, (name, size) in enumerate(SIZES.items())
    }


@pytest.mark.parametrize(("rule", "options", "mode"), CASES, ids=ids(CASES))
def test_every_rule(library, skip_unless_there_is, rule, options, mode):
    skip_unless_there_is(mode)
    rng = np.random.default_rng(1)
    whole = {"max_grad_norm": 0.7, "skip_nonfinite": True, "ema_decay": 0.9, "seed": 2**40 + 3}
    how = {**options, **storage(mode), "weight_decay": 0.01}
    both = Both(library, rule, draw(rng, mode["param"]), **{**how, **whole})
    both.step(gradients(library, rng, 0))
    both.step(gradients(library, rng, 1), grad_scale=3.0, zero_grads=True)
    both.step({n: g * np.array(np.nan, g.dtype) for n, g in gradients(library, rng, 2).items()})
    both.check()
    plain = Both(library, rule, draw(rng, mode["param"]), **how)
    for turn in range(2):
        plain.step(gradients(library, rng, turn))
    plain.check()


@pytest.mark.parametrize("rule", RULES)
def test_narrow_gradients_of_native_parameters(library, rule):
    rng = np.random.default_rng(2)
    both = Both(library, rule, draw(rng, "float32"))
    both.step(gradients(library, rng, 1))
    both.step(draw(rng, "float32"))
    both.check()


@pytest.mark.parametrize(("rule", "options", "mode"), ADAM, ids=ids(ADAM))
def test_resumed_on_the_other_side(library, skip_unless_there_is, rule, options, mode):
    skip_unless_there_is(mode)
    rng = np.random.default_rng(3)
    how = {**options, **storage(mode)}
    both = Both(library, rule, draw(rng, mode["param"]), **how)
    both.step(draw(rng, "float32"))
    there, here = both.device.state_dict(), both.host.state_dict()
    other = Both(library, rule, dict(both.host.params), **how)
    other.host.load_state_dict(there)
    other.device.load_state_dict(here)
    other.check()
    grads = draw(rng, "float32")
    both.step(grads)
    other.step(grads)
    other.check()
    for ours, theirs in zip(both.params.read(), other.params.read(), strict=True):
        assert same_bits(bits(ours), bits(theirs))


# The states of the row-wise rule are one number a row, and never narrow.
BY_ROWS = [("adamw", mode) for mode in MODES]
BY_ROWS += [("rowwiseadagrad", mode) for mode in MODES if mode["state"] == "float32"]


@pytest.mark.parametrize(
    ("rule", "mode"), BY_ROWS, ids=[f"{rule}-{name_of(mode)}" for rule, mode in BY_ROWS]
)
def test_rows(library, skip_unless_there_is, rule, mode):
    skip_unless_there_is(mode)
    rng = np.random.default_rng(4)
    row = 256 if mode["state"] == "8bit" else 77
    start = {"w": numbers(rng, (19, row), mode["param"])}
    both = Both(library, rule, start, **storage(mode), max_grad_norm=0.5)
    for indices in ([3, 0, 17], [5, 3, 5, 18]):
        rows = numbers(rng, (len(indices), row), "float16")
        (there,) = Field(library, [rows]).arrays
        both.host.step_rows("w", np.array(indices), rows)
        both.device.step_rows("w", np.array(indices), there)
    both.step({"w": numbers(rng, (19, row), "float32")})
    both.check()


@every_mode
def test_what_is_stored_can_be_read(library, skip_unless_there_is, mode):
    skip_unless_there_is(mode)
    rng = np.random.default_rng(5)
    both = Both(library, "adamw", draw(rng, mode["param"]), **storage(mode))
    both.step(draw(rng, "float32"))
    assert both.host.state_bytes == both.device.state_bytes
    for name in SIZES:
        read = both.device.decoded_state(name)
        assert all(same_bits(a, read[k]) for k, a in both.host.decoded_state(name).items())
        assert same_bits(both.host.master(name), both.device.master(name))


@every_mode
@pytest.mark.parametrize("correction", [False, True])
def test_averages(library, skip_unless_there_is, mode, correction):
    skip_unless_there_is(mode)
    rng = np.random.default_rng(6)
    start, how = draw(rng, mode["param"]), {**storage(mode), "ema_bias_correction": correction}
    both = Both(library, "sgd", start, momentum=0.9, ema_decay=0.5, **how)
    both.step(draw(rng, "float32"))
    with both.host.ema.swapped_in(), both.device.ema.swapped_in():
        for ours, theirs in zip(both.host.params.values(), both.params.read(), strict=True):
            assert same_bits(bits(ours), bits(theirs))
    both.check()


@every_mode
def test_states_that_do_not_start_at_0(library, skip_unless_there_is, mode):
    skip_unless_there_is(mode)
    rng = np.random.default_rng(7)
    start = draw(rng, mode["param"])
    both = Both(library, "adagrad", start, initial_accumulator_value=0.3, **storage(mode))
    both.check()
    both.step(draw(rng, "float32"))
    both.check()


@pytest.mark.parametrize("rule", LAYERWISE)
def test_norms_of_long_arrays(library, rule):
    rng = np.random.default_rng(8)
    start = {"w": numbers(rng, 300_001, "float16")}
    both = Both(library, rule, start, state_dtype="8bit", master="split", max_grad_norm=1.0)
    both.step({"w": numbers(rng, 300_001, "float16")})
    both.check()


@pytest.mark.parametrize("size", [1, 2, 3, 1_001])
def test_gradients_of_frozen_parameters_are_zeroed(library, size):
    """Also where they do not fill whole words."""
    rng = np.random.default_rng(9)
    both = Both(library, "sgd", {n: numbers(rng, size, "float16") for n in "ab"})
    both.host.freeze("a")
    both.device.freeze("a")
    both.step({n: numbers(rng, size, "float16") for n in "ab"}, zero_grads=True)
    both.check()


def test_options_that_do_not_fit_are_the_cpus_errors(library):
    rng = np.random.default_rng(10)
    w = {"w": numbers(rng, 7, "float64")}
    (there,) = Field(library, list(w.values())).arrays
    for options in ({"state_dtype": "8bit"}, {"master": "split"}, {"rounding": "kahan"}):
        with pytest.raises(TypeError) as ours:
            fs.AdamW(w, **options)
        with pytest.raises(TypeError) as theirs:
            fs.AdamW({"w": there}, **options)
        assert str(ours.value) == str(theirs.value)
