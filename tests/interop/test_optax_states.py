"""States of optax continued by Adam, AdamW and SGD here, and the reverse."""

from typing import NamedTuple

import numpy as np
import pytest

jax = pytest.importorskip("jax")
optax = pytest.importorskip("optax")

import fusedstep as fs
from emulated_cuda import on_device
from fusedstep.optax import from_optax_state, to_optax_state
from optax_runs import (
    RATE,
    Ours,
    Theirs,
    assert_same_tree,
    bits,
    give_parameters,
    nest,
    saved_bits,
    steps,
    take_parameters,
)

CONSTANT = optax.constant_schedule(RATE)
CASES = {
    "adam": (lambda: optax.adam(RATE), "Adam", {}),
    "adam, betas": (lambda: optax.adam(RATE, 0.5, 0.9), "Adam", {"betas": (0.5, 0.9)}),
    "adam, root": (
        lambda: optax.adam(RATE, eps=0.0, eps_root=1e-3),
        "Adam",
        {"eps": 1e-3, "eps_inside_sqrt": True},
    ),
    "adam in a chain": (
        lambda: optax.chain(optax.clip_by_global_norm(1e9), optax.adam(RATE), optax.identity()),
        "Adam",
        {},
    ),
    "adam, named": (lambda: optax.named_chain(("this", optax.adam(RATE))), "Adam", {}),
    "adam, injected": (lambda: optax.inject_hyperparams(optax.adam)(RATE), "Adam", {}),
    "adam, injected schedule": (
        lambda: optax.inject_hyperparams(optax.adam)(learning_rate=CONSTANT),
        "Adam",
        {},
    ),
    "adamw": (lambda: optax.adamw(RATE, weight_decay=0.1), "AdamW", {"weight_decay": 0.1}),
    "adamw, schedule": (lambda: optax.adamw(CONSTANT, weight_decay=1e-2), "AdamW", {}),
    "sgd": (lambda: optax.sgd(RATE), "SGD", {}),
    "sgd, schedule": (lambda: optax.sgd(CONSTANT), "SGD", {}),
    "sgd, momentum": (lambda: optax.sgd(RATE, 0.9), "SGD", {"momentum": 0.9}),
    "sgd, momentum, schedule": (lambda: optax.sgd(CONSTANT, 0.9), "SGD", {"momentum": 0.9}),
    "sgd, nesterov": (
        lambda: optax.sgd(RATE, 0.9, nesterov=True),
        "SGD",
        {"momentum": 0.9, "nesterov": True},
    ),
}
each_case = pytest.mark.parametrize("case", CASES)
TOLERANCE = {np.float32: 1e-6, np.float64: 4e-15}


def assert_close(ours, theirs, tolerance):
    for one, other in zip(
        jax.tree.leaves(ours.params), jax.tree.leaves(theirs.params), strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@each_case
@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_run_of_optax_is_continued_here_and_given_back(case, dtype):
    make, rule, options = CASES[case]
    with jax.enable_x64(dtype == np.float64):
        theirs, ours = Theirs(make(), dtype), Ours(rule, dtype=dtype, **options)
        steps(range(4), theirs)
        give_parameters(theirs, ours)
        from_optax_state(ours.opt, theirs.state)
        back = to_optax_state(ours.opt, theirs.rule.init(theirs.params))
        assert_same_tree(back, theirs.state)
        steps(range(4, 9), theirs, ours)
        assert_close(ours, theirs, TOLERANCE[dtype])


@each_case
def test_a_run_here_is_continued_in_optax_and_taken_back(case):
    make, rule, options = CASES[case]
    ours, theirs, straight = Ours(rule, **options), Theirs(make()), Ours(rule, **options)
    steps(range(4), ours, straight)
    theirs.state = to_optax_state(ours.opt, theirs.state)
    take_parameters(theirs, ours)
    resumed = Ours(rule, **options)
    give_parameters(theirs, resumed)
    if case in ("sgd", "sgd, momentum", "sgd, nesterov"):  # which count nothing
        resumed.opt.set_counters(4, 4)
    from_optax_state(resumed.opt, theirs.state)
    assert saved_bits(resumed.opt) == saved_bits(straight.opt)
    steps(range(4, 9), resumed, straight, theirs)
    assert saved_bits(resumed.opt) == saved_bits(straight.opt)
    for one, other in zip(
        jax.tree.leaves(resumed.params), jax.tree.leaves(straight.params), strict=True
    ):
        assert bits(one) == bits(other)
    assert_close(straight, theirs, TOLERANCE[np.float32])


@pytest.mark.parametrize("case", ["adam", "sgd, momentum"])
def test_a_run_that_has_not_begun(case):
    make, rule, options = CASES[case]
    theirs, ours, fresh = Theirs(make()), Ours(rule, **options), Ours(rule, **options)
    from_optax_state(ours.opt, theirs.state)
    assert saved_bits(ours.opt) == saved_bits(fresh.opt)
    assert_same_tree(to_optax_state(ours.opt, theirs.state), theirs.state)


def test_a_trace_that_has_moved_is_of_one_step_at_least():
    theirs, ours = Theirs(optax.sgd(RATE, 0.9)), Ours("SGD", momentum=0.9)
    steps(range(3), theirs)
    from_optax_state(ours.opt, theirs.state)
    assert [own["step"] for own in ours.opt.state.values()] == [1, 1, 1, 1]
    assert ours.opt.step_count == 0


def test_schedules_here_follow_the_count_of_schedules_there():
    theirs, ours = Theirs(optax.sgd(CONSTANT, 0.9)), Ours("SGD", lambda i: 0.5**i, momentum=0.9)
    steps(range(3), theirs)
    from_optax_state(ours.opt, theirs.state)
    assert (ours.opt.step_count, ours.opt.lr) == (3, 0.125)


class Pair(NamedTuple):
    w: object
    b: object


@pytest.mark.parametrize(
    ("tree", "params"),
    [
        (np.ones(3, np.float32), np.ones(3, np.float32)),
        ([np.ones(3, np.float32), np.ones(2, np.float32)], None),
        ((np.ones(3, np.float32), [np.ones(2, np.float32)]), None),
        (Pair(np.ones(3, np.float32), np.ones(2, np.float32)), {"w": 3, "b": 2}),
        ({"a": {"b": np.ones(3, np.float32)}}, {"a.b": 3}),
        ({"a": {"b": np.ones(3, np.float32)}}, [{"params": {"a.b": 3}, "lr": 0.1}]),
    ],
)
def test_paths_in_trees_are_names(tree, params):
    """`params` has sizes where they are not the tree."""
    sized = jax.tree.map(lambda it: np.ones(it, np.float32) if isinstance(it, int) else it, params)
    opt = fs.Adam(tree if params is None else sized)
    rule = optax.adam(RATE)
    grads = jax.tree.map(jax.numpy.ones_like, tree)
    _, state = rule.update(grads, rule.init(tree))
    from_optax_state(opt, state)
    assert_same_tree(to_optax_state(opt, rule.init(tree)), state)
    assert opt.step_count == 1


def labelled(label_of):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: label_of(jax.tree_util.keystr(path)), nest()
    )


def test_parts_of_the_parameters_may_have_states_of_their_own():
    rules = {"one": optax.adam(RATE), "other": optax.adam(CONSTANT)}
    labels = labelled(lambda path: "one" if "w" in path else "other")
    theirs, ours = Theirs(optax.multi_transform(rules, labels)), Ours("Adam")
    steps(range(3), theirs)
    give_parameters(theirs, ours)
    from_optax_state(ours.opt, theirs.state)
    assert_same_tree(to_optax_state(ours.opt, theirs.state), theirs.state)
    ours.opt.set_counters(steps={"layer.w": 7})
    by_label = to_optax_state(ours.opt, theirs.state).inner_states
    assert int(by_label["one"].inner_state[0].count) == 7
    assert int(by_label["other"].inner_state[0].count) == 3
    with pytest.raises(
        fs.CheckpointError, match=r"count: expected parameters with as many steps, got 3 to 7"
    ):
        to_optax_state(ours.opt, optax.adam(RATE).init(theirs.params))


def test_what_is_masked_is_missing():
    rule = optax.masked(optax.adam(RATE), labelled(lambda path: "w" in path))
    theirs, ours = Theirs(rule), Ours("Adam")
    with pytest.raises(fs.CheckpointError, match=r"parameter 'layer.b': missing"):
        from_optax_state(ours.opt, theirs.state)
    with pytest.raises(fs.CheckpointError, match=r"'layer.b': state 'exp_avg' unexpected"):
        to_optax_state(ours.opt, theirs.state)


def test_shapes_are_enough_of_a_state_to_be_filled():
    theirs, ours = Theirs(optax.adam(RATE)), Ours("Adam")
    steps(range(2), theirs)
    from_optax_state(ours.opt, theirs.state)
    shapes = jax.eval_shape(theirs.rule.init, theirs.params)
    assert_same_tree(to_optax_state(ours.opt, shapes), theirs.state)


@pytest.mark.usefixtures("emulated")
def test_parameters_on_a_device():
    theirs, device = Theirs(optax.adam(RATE)), Ours("Adam")
    steps(range(3), theirs)
    device.opt = fs.Adam(on_device(device.params))
    from_optax_state(device.opt, theirs.state)
    assert_same_tree(to_optax_state(device.opt, theirs.rule.init(theirs.params)), theirs.state)


def test_arrays_go_where_those_of_the_state_were_put():
    ours = Ours("Adam")
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    state = jax.device_put(optax.adam(RATE).init(nest()), sharding)
    filled = to_optax_state(ours.opt, state)
    assert all(leaf.committed for leaf in jax.tree.leaves(filled))
    filled = to_optax_state(ours.opt, optax.adam(RATE).init(nest()))
    assert not any(leaf.committed for leaf in jax.tree.leaves(filled))


def test_bfloat16():
    theirs = Theirs(optax.sgd(RATE, 0.9, accumulator_dtype=jax.numpy.bfloat16))
    steps(range(3), theirs)
    narrow = Ours("SGD", momentum=0.9, state_dtype="bfloat16")
    from_optax_state(narrow.opt, theirs.state)
    assert_same_tree(to_optax_state(narrow.opt, theirs.state), theirs.state)
    wide = Ours("SGD", momentum=0.9)
    from_optax_state(wide.opt, theirs.state)
    for name in wide.opt.state:
        assert bits(wide.opt.state[name]["momentum_buffer"]) == bits(
            narrow.opt.decoded_state(name)["momentum_buffer"]
        )
    with pytest.raises(fs.CheckpointError, match=r"expected float32, .*, got bfloat16"):
        to_optax_state(wide.opt, theirs.state)
    with pytest.raises(fs.CheckpointError, match="expected dtype uint16, got float32"):
        from_optax_state(narrow.opt, Theirs(optax.sgd(RATE, 0.9)).state)


def test_the_state_that_is_filled_stays_as_it_is():
    theirs, ours = Theirs(optax.adam(RATE)), Ours("Adam")
    ours.step(0)
    before = jax.tree.map(np.array, theirs.state)
    filled = to_optax_state(ours.opt, theirs.state)
    kept = jax.tree.map(np.array, filled)
    ours.step(1)
    assert_same_tree(theirs.state, before)
    assert_same_tree(filled, kept)
