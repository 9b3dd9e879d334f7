"""States of optax that do not fit, and optimizers that optax cannot have."""

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import fusedstep as fs
from fusedstep.optax import from_optax_state, to_optax_state
from optax_runs import RATE, Ours, Theirs, nest, saved_bits, steps


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("Adam", {"amsgrad": True}, "'layer.w': state 'max_exp_avg_sq' unexpected"),
        ("Adam", {"ema_decay": 0.9}, "'layer.w': state 'ema' unexpected"),
        ("SGD", {"momentum": 0.9, "dampening": 0.5}, "dampening: optax has none"),
        ("SGD", {}, r"\.trace\['layer'\]\['b'\]: expected no momentum_buffer of 'layer.b'"),
    ],
)
def test_what_optax_does_not_have_is_refused(rule, options, message):
    theirs = Theirs(optax.adam(RATE) if rule == "Adam" else optax.sgd(RATE, 0.9))
    with pytest.raises(fs.CheckpointError, match=f"^this {rule} does not fit the state") as error:
        to_optax_state(Ours(rule, **options).opt, theirs.state)
    assert error.match(message)


def test_a_state_of_other_shapes_is_not_filled():
    state = optax.adam(RATE).init(jax.tree.map(np.transpose, nest()))
    with pytest.raises(fs.CheckpointError) as error:
        to_optax_state(Ours("Adam").opt, state)
    assert error.value.differences == tuple(
        f"state[0].{field}['layer']['w']: expected float32, (7, 5), got float32, (5, 7)"
        for field in ("mu", "nu")
    )


def test_counters_that_optax_cannot_have():
    ours = Ours("Adam")
    ours.opt.set_counters(steps=2**31)
    with pytest.raises(
        fs.CheckpointError, match=r"state\[0\].count: expected int64, \(\), got int32"
    ):
        to_optax_state(ours.opt, optax.adam(RATE).init(nest()))


def test_float64_needs_a_state_of_it_and_jax_to_have_it():
    ours = Ours("Adam", dtype=np.float64)
    with pytest.raises(fs.CheckpointError, match=r"expected float64, .* got float32"):
        to_optax_state(ours.opt, Theirs(optax.adam(RATE)).state)
    with jax.enable_x64(True):
        state = Theirs(optax.adam(RATE), np.float64).state
    with pytest.raises(fs.CheckpointError, match="expected jax_enable_x64 to be set"):
        to_optax_state(ours.opt, state)


def test_only_rules_and_optimizers_that_optax_has_so():
    state = Theirs(optax.adam(RATE)).state
    for call in (to_optax_state, from_optax_state):
        with pytest.raises(ValueError, match="expected Adam, AdamW or SGD, got Lion"):
            call(Ours("Lion").opt, state)
        with pytest.raises(TypeError, match="expected an optimizer of the core"):
            call(None, state)


def with_parts(state, **fields):
    return (state[0]._replace(**fields), *state[1:])


BAD = {
    "parameter 'layer.w': missing": lambda _: (),
    "parameter 'layer.b': missing": lambda _: None,
    "state[0]: expected the states of ScaleByAdamState": lambda _: optax.sgd(RATE, 0.9).init(
        nest()
    ),
    "state[0].nu_max['layer']['b']: expected": lambda _: optax.amsgrad(RATE).init(nest()),
    "state[1].ema['layer']['b']: expected": lambda state: (state, optax.ema(0.9).init(nest())),
    "state[1][0].mu['layer']['b']: expected 'layer.b' once": lambda state: (state, state),
    "parameter 'layer.v': unexpected": lambda state: with_parts(
        state, mu={**state[0].mu, "layer": {"v": np.ones(3)}}
    ),
    "parameter 'layer.w': state 'exp_avg_sq' missing": lambda state: with_parts(state, nu={}),
    "state 'exp_avg': expected shape (7, 5), got (5, 7)": lambda state: with_parts(
        state, mu=jax.tree.map(lambda it: it.T, state[0].mu)
    ),
    "state 'exp_avg': expected dtype float32, got int32": lambda state: with_parts(
        state, mu=jax.tree.map(lambda it: it.astype(np.int32), state[0].mu)
    ),
    "step: expected an integer from 0 to 2**63 - 1, got -1": lambda state: with_parts(
        state, count=jax.numpy.asarray(-1)
    ),
    "step: expected an integer from 0 to 2**63 - 1, got 1.5": lambda state: with_parts(
        state, count=1.5
    ),
    "step: expected an integer from 0 to 2**63 - 1, got array([1, 1])": lambda state: with_parts(
        state, count=np.ones(2, int)
    ),
    "step_count: expected an integer": lambda state: (
        state,
        optax.ScaleByScheduleState(count=np.ones(2)),
    ),
    "state[2].count: expected 3 steps as before, got 4": lambda state: (
        state,
        *(optax.ScaleByScheduleState(count=n) for n in (3, 4)),
    ),
}


@pytest.mark.parametrize("message", BAD)
def test_fault_29_what_does_not_fit_is_refused_and_changes_nothing(message):
    theirs, ours = Theirs(optax.adam(RATE)), Ours("Adam")
    steps(range(2), theirs, ours)
    before = saved_bits(ours.opt)
    with pytest.raises(fs.CheckpointError, match="does not fit this Adam") as error:
        from_optax_state(ours.opt, BAD[message](theirs.state))
    assert any(message in line for line in error.value.differences)
    assert saved_bits(ours.opt) == before


def test_fault_29_every_difference_is_in_one_error():
    state = Theirs(optax.adam(RATE)).state
    mu = {**state[0].mu, "scales": [np.ones(9)]}
    with pytest.raises(fs.CheckpointError) as error:
        from_optax_state(Ours("Adam").opt, (with_parts(state, mu=mu, count=-1), state[0].nu))
    named = ["state[1]['layer']['b']", "got -1", "'scales.0': state 'exp_avg'", "'exp_avg' missing"]
    assert all(any(part in line for line in error.value.differences) for part in named)
