"""Moving averages and bfloat16 working copies, made in the same sweep."""

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, same_bits
from whole_step import bfloat16_bits, draw, same_bfloat16

# Averages ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("correct", [False, True])
def test_the_average_equals_a_separate_ema(dtype, correct):
    rng = np.random.default_rng(8)
    start = draw(rng, dtype)
    opt = fs.Adam(start, ema_decay=0.9, ema_bias_correction=correct)
    separate = fs.EMA(
        start, decay=0.9, init="zeros" if correct else "copy", bias_correction=correct
    )
    assert all(np.array_equal(opt.ema[name], separate[name]) for name in start)
    for _ in range(3):
        opt.step(draw(rng, dtype))
        separate.update()
    assert list(opt.ema) == list(start)
    assert all(same_bits(opt.ema[name], separate[name]) for name in start)


def test_averages_can_be_swapped_in():
    rng = np.random.default_rng(9)
    params = draw(rng, "float32")
    opt = fs.Adam(params, ema_decay=0.5)
    opt.step(draw(rng, "float32"))
    before = {name: p.copy() for name, p in params.items()}
    try:
        with opt.ema.swapped_in():
            assert all(same_bits(params[name], opt.ema[name]) for name in params)
            words = r"^cannot step inside ema.swapped_in\(\), where the parameters hold their av"
            with pytest.raises(RuntimeError, match=words):
                opt.step(draw(rng, "float32"))
            words = r"^cannot enter ema.swapped_in\(\) inside ema.swapped_in\(\), where"
            with pytest.raises(RuntimeError, match=words), opt.ema.swapped_in():
                pass
            raise KeyError
    except KeyError:
        pass
    assert all(same_bits(params[name], before[name]) for name in params)
    assert opt.step(draw(rng, "float32")).applied


def test_averages_are_saved_and_loaded():
    rng = np.random.default_rng(10)
    start, grads = draw(rng, "float32"), [draw(rng, "float32") for _ in range(4)]
    straight = fs.Adam({n: p.copy() for n, p in start.items()}, ema_decay=0.9)
    for grad in grads:
        straight.step(grad)
    first = fs.Adam(start, ema_decay=0.9)
    for grad in grads[:2]:
        first.step(grad)
    second = fs.Adam({n: p.copy() for n, p in start.items()}, ema_decay=0.9)
    second.load_state_dict(first.state_dict())
    for grad in grads[2:]:
        second.step(grad)
    assert all(same_bits(straight.ema[name], second.ema[name]) for name in start)
    with pytest.raises(ValueError, match="state 'ema' missing"):
        second.load_state_dict(fs.Adam(start).state_dict())


def test_there_is_no_average_without_asking():
    with pytest.raises(AttributeError, match=r"^ema: pass ema_decay=\.\.\. at construction$"):
        _ = fs.Adam(np.ones(3)).ema


# Working copies ----------------------------------------------------------------------------------


def test_working_copies_round_to_nearest_even():
    bits = np.arange(0, 2**32, 4099, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(2**16, dtype=np.uint32) << 16) | 0x8000
    w = np.concatenate([bits, ties, ties + 1, ties - 1]).view(np.float32)
    copy = np.zeros(w.shape, np.uint16)
    fs.SGD({"w": w}, lr=0.0, working_copy={"w": copy}).step({"w": np.zeros_like(w)})
    assert same_bfloat16(copy, bfloat16_bits(w))
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    theirs = torch.from_numpy(w.copy()).bfloat16().view(torch.uint16).numpy()
    finite = ~np.isnan(w)
    assert np.array_equal(copy[finite], theirs[finite])


def test_working_copies_of_torch_and_ml_dtypes():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    w = np.linspace(-3, 3, 1001, dtype=np.float32)
    copy = torch.zeros(1001, dtype=torch.bfloat16)
    fs.SGD({"w": w}, working_copy={"w": copy}).step({"w": np.ones_like(w)})
    assert torch.equal(copy, torch.from_numpy(w).bfloat16())
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: peers)")
    mine = np.zeros(1001, ml_dtypes.bfloat16)
    fs.SGD({"w": w}, working_copy={"w": mine}).step({"w": np.ones_like(w)})
    assert np.array_equal(mine, w.astype(ml_dtypes.bfloat16))


def test_working_copies_are_right_before_a_step_has_written_them():
    rng = np.random.default_rng(11)
    params, copies = draw(rng, "float32"), {}
    for name, param in params.items():
        copies[name] = np.zeros(param.shape, np.uint16)
    opt = fs.SGD(params, lr=0.1, working_copy=copies)

    def is_copied(names):
        return {name: np.array_equal(copies[name], bfloat16_bits(params[name])) for name in names}

    assert all(is_copied(params).values())  # at construction
    saved = opt.state_dict()
    for param in params.values():
        param[...] += 1
    opt.load_state_dict(saved)
    assert all(is_copied(params).values())
    first, *others = params
    opt.freeze(*params)
    for param in params.values():
        param[...] += 1
    opt.unfreeze(first)
    assert is_copied(params) == {first: True, **dict.fromkeys(others, False)}
    new = {"new": np.full(3, 0.1, np.float32)}
    copies["new"] = np.zeros(3, np.uint16)
    opt.add_group({"params": new}, working_copy={"new": copies["new"]})
    assert np.array_equal(copies["new"], bfloat16_bits(new["new"]))


def test_working_copies_are_of_the_parameters_while_averages_are_swapped_in():
    params, copy = {"w": np.ones(3, np.float32)}, np.zeros(3, np.uint16)
    opt = fs.SGD(params, lr=0.1, working_copy={"w": copy}, ema_decay=0.5)
    opt.step({"w": np.ones(3, np.float32)})
    before = copy.copy()
    with opt.ema.swapped_in():
        opt.load_state_dict(opt.state_dict())
        assert np.array_equal(copy, before)
