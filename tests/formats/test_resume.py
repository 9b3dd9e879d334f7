"""A saved state goes on to the same bits, and what is read of it is what is stored."""

import io
import pickle

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from narrow_modes import MODES, assert_equal, bits, grid, ids, name_of, numbers, storage
from whole_step import World

SIZES = {"w": 5_000, "b": 77}
CASES = list(grid())
every_mode = pytest.mark.parametrize("mode", MODES, ids=name_of)


def draw(rng, dtype):
    return {name: numbers(rng, size, dtype) for name, size in SIZES.items()}


@pytest.mark.parametrize(("rule", "options", "mode"), CASES, ids=ids(CASES))
def test_fault_16_resumed(rule, options, mode):
    rng = np.random.default_rng(1)
    start, batches = draw(rng, mode["param"]), [draw(rng, "bfloat16") for _ in range(4)]
    how = {**storage(mode), "ema_decay": 0.9}
    world = World(rule, options, start, 0.9, narrow={**storage(mode), "seed": 3})
    opt = fs.create(rule, start, **{**options, **how}, seed=3)
    for grads in batches[:2]:
        world.step(grads)
        opt.step(grads)
    saved = pickle.loads(pickle.dumps(opt.state_dict()))
    params = {name: param.copy() for name, param in opt.params.items()}
    resumed = fs.create(rule, params, **{**options, **how}, seed=3)
    resumed.load_state_dict(saved)
    assert_equal(resumed, world.runs)
    for grads in batches[2:]:
        world.step(grads)
        resumed.step(grads)
    assert_equal(resumed, world.runs)
    for name in SIZES:
        assert same_bits(resumed.ema[name], world.ema[name])


@every_mode
def test_what_is_stored_can_be_read(mode):
    rng = np.random.default_rng(2)
    start = draw(rng, mode["param"])
    world = World("adamw", {}, start, narrow=storage(mode))
    opt = fs.AdamW(start, **storage(mode))
    for _ in range(2):
        grads = draw(rng, "float32")
        world.step(grads)
        opt.step(grads)
    for name, run in world.runs.items():
        read = opt.decoded_state(name)
        assert read.keys() == run.state.keys()
        for state, value in run.state.items():
            assert same_bits(read[state], value)
            assert not np.shares_memory(read[state], opt.state[name][state])
        assert same_bits(opt.master(name), run.param)


@every_mode
def test_bytes_of_the_state(mode):
    opt = fs.AdamW(draw(np.random.default_rng(3), mode["param"]), **storage(mode))
    held = [a for own in opt.state.values() for a in own.values() if isinstance(a, np.ndarray)]
    assert opt.state_bytes == sum(array.nbytes for array in held)
    size = sum(SIZES.values())
    per_state = {"float32": 4, "bfloat16": 2, "8bit": 1}[mode["state"]]
    kept = {"kahan": 2, "split32": 2, "split24": 1}.get(mode["kept"], 0)
    assert 0 <= opt.state_bytes - size * (2 * per_state + kept) <= size // 8


@every_mode
def test_numpy_saves_it(mode):
    """As every array, without pickle: bfloat16 as the integers that have its bits."""
    opt = fs.AdamW(draw(np.random.default_rng(4), mode["param"]), **storage(mode))
    opt.step(draw(np.random.default_rng(5), "float32"))
    arrays = {
        f"{name}.{key}": array
        for name, own in opt.state.items()
        for key, array in own.items()
        if isinstance(array, np.ndarray)
    }
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as read:
        assert all(same_bits(read[name], array) for name, array in arrays.items())


def test_a_state_of_another_mode_is_refused():
    param = numbers(np.random.default_rng(6), 5_000, "float32")
    saved = {}
    for state in ("float32", "bfloat16", "8bit"):
        opt = fs.Adam(param.copy(), state_dtype=state)
        opt.step(param)
        saved[state] = opt.state_dict()
    for state, own in saved.items():
        opt = fs.Adam(param.copy(), state_dtype=state)
        for other in saved.keys() - {state}:
            with pytest.raises((ValueError, TypeError), match=r"exp_avg|state_dtype"):
                opt.load_state_dict(saved[other])
        opt.load_state_dict(own)


def test_gradients_may_be_bound():
    rng = np.random.default_rng(7)
    start, grads = draw(rng, "bfloat16"), draw(rng, "bfloat16")
    opts = [fs.AdamW({n: p.copy() for n, p in start.items()}, master="split") for _ in range(2)]
    opts[0].bind(grads)
    opts[0].step()
    opts[1].step(grads)
    for name in SIZES:
        assert same_bits(bits(opts[0].params[name]), bits(opts[1].params[name]))
        assert not same_bits(bits(opts[0].params[name]), bits(start[name]))
