"""Arrays whose axes lie in memory in any order: steps have the bits of the same arrays in C order."""

from itertools import permutations

import numpy as np
import pytest

import fusedstep as fs
from cases import LAYERWISE, ROWWISE, every_dtype, same_bits
from optimizers import refused, richest

EVERY = [order for ndim in (3, 4) for order in permutations(range(ndim))]
RULES = [rule for rule in fs.available() if rule not in ROWWISE]
SHAPE = (3, 2, 5, 4)


def laid_out(array, order):
    """A copy with its axes in this order of memory."""
    back = np.argsort(order)
    return np.ascontiguousarray(array.transpose(order)).transpose(back)


def flat(array, order):
    """The elements as they lie in memory: an array in C order."""
    return np.ascontiguousarray(array.transpose(order))


def pair(rule, dtype, order, seed=1, **options):
    """Optimizers over an array and over the same elements in C order, and a gradient of each."""
    rng = np.random.default_rng(seed)
    shape = SHAPE[: len(order)]
    values = [laid_out(rng.standard_normal(shape).astype(dtype), order) for _ in range(4)]
    opt = fs.create(rule, {"w": values[0].copy("K")}, **options)
    control = fs.create(rule, {"w": flat(values[0], order)}, **options)
    return opt, control, values[1:]


def agree(opt, control, order):
    w = opt.params["w"]
    assert same_bits(flat(w, order), control.params["w"])
    for name, array in opt.state["w"].items():
        if name != "step":
            assert array.strides == tuple(s // w.itemsize * array.itemsize for s in w.strides)
            assert same_bits(flat(array, order), control.state["w"][name])


@every_dtype
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("order", EVERY, ids=str)
def test_fault_04_every_order_of_the_axes(rule, dtype, order):
    opt, control, grads = pair(rule, dtype, order, **richest(rule))
    for grad in grads:
        opt.step({"w": grad})
        control.step({"w": flat(grad, order)})
    opt.bind({"w": grads[0]})
    opt.step()
    opt.step_mean([{"w": grads[1]}, {"w": grads[2]}])
    control.step({"w": flat(grads[0], order)})
    control.step_mean([{"w": flat(grad, order)} for grad in grads[1:]])
    agree(opt, control, order)


MODES = {
    "average": {"ema_decay": 0.9},
    "corrected average": {"ema_decay": 0.9, "ema_bias_correction": True},
    "16 bits": {"state_dtype": "bfloat16"},
    "8 bits": {"state_dtype": "8bit", "min_8bit_size": 0},
    "norm": {"max_grad_norm": 0.1, "skip_nonfinite": True},
}


@pytest.mark.parametrize("mode", MODES.values(), ids=MODES)
@pytest.mark.parametrize("order", [(1, 2, 0), (0, 2, 3, 1)], ids=str)
def test_averages_narrow_state_and_norms(mode, order):
    opt, control, grads = pair("adam", "float32", order, **mode)
    for grad in grads:
        ours, theirs = opt.step({"w": grad}), control.step({"w": flat(grad, order)})
        assert ours == theirs
    assert same_bits(flat(opt.params["w"], order), control.params["w"])
    decoded = opt.decoded_state("w"), control.decoded_state("w")
    assert all(same_bits(flat(decoded[0][name], order), decoded[1][name]) for name in decoded[1])
    if "ema_decay" in mode:
        assert same_bits(flat(opt.ema["w"], order), control.ema["w"])
        before = opt.params["w"].copy("K")
        with opt.ema.swapped_in(), control.ema.swapped_in():
            assert same_bits(flat(opt.params["w"], order), control.params["w"])
        assert same_bits(opt.params["w"], before)


@pytest.mark.parametrize("order", EVERY, ids=str)
@pytest.mark.parametrize("saved_in_c", [False, True])
def test_states_are_saved_and_loaded_in_any_order(order, saved_in_c):
    opt, control, grads = pair("adam", "float32", order)
    opt.step({"w": grads[0]})
    saved = opt.state_dict()
    assert saved["state"]["w"]["exp_avg"].strides == opt.params["w"].strides
    if saved_in_c:
        own = saved["state"]["w"]
        own |= {n: np.ascontiguousarray(a) for n, a in own.items() if n != "step"}
    resumed = fs.Adam({"w": opt.params["w"].copy("K")})
    resumed.load_state_dict(saved)
    for one in (opt, resumed):
        one.step({"w": grads[1]})
    for grad in grads[:2]:
        control.step({"w": flat(grad, order)})
    agree(opt, control, order)
    agree(resumed, control, order)


@pytest.mark.parametrize("copy_too", [False, True])
def test_working_copies_share_the_order(copy_too):
    w = laid_out(np.ones((2, 3, 4), "float32"), (1, 2, 0))
    copy = np.zeros_like(w, np.uint16) if copy_too else np.zeros(w.shape, np.uint16)
    if not copy_too:
        with pytest.raises(ValueError, match=r"working copy of 'w': expected strides \(2, 16, 4\)"):
            fs.SGD({"w": w}, lr=1.0, working_copy={"w": copy})
        return
    opt = fs.SGD({"w": w}, lr=1.0, working_copy={"w": copy})
    opt.step({"w": laid_out(np.arange(24, dtype="float32").reshape(2, 3, 4), (1, 2, 0))})
    assert same_bits((copy.astype(np.uint32) << 16).view("float32"), w)


@pytest.mark.parametrize("rule", ["adam", *LAYERWISE])
def test_fault_04_another_order_is_refused(rule):
    rng = np.random.default_rng(1)
    grad = rng.standard_normal((2, 3, 4))
    opt = fs.create(rule, {"w": laid_out(grad, (1, 2, 0))})
    wanted = "gradient of 'w'", "expected strides (8, 64, 16) like its parameter", "got shape"
    for order in set(permutations(range(3))) - {(1, 2, 0)}:
        with refused(opt, ValueError, *wanted):
            opt.step({"w": laid_out(grad, order)})
        with refused(opt, ValueError, *wanted):
            opt.bind({"w": laid_out(grad, order)})
    in_c = fs.create(rule, {"w": grad.copy()})
    with refused(in_c, ValueError, "expected a contiguous array in C order like its parameter"):
        in_c.step({"w": laid_out(grad, (1, 2, 0))})


def test_axes_of_length_1_lie_anywhere():
    w = np.ones((2, 1, 3, 4, 1)).transpose(3, 1, 0, 2, 4)
    grad = np.lib.stride_tricks.as_strided(w.copy("K"), strides=(8, 7, 96, 32, 1000))
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.step({"w": grad})
    opt.step({"w": grad})
    assert np.all(w == -1)


GAPS = {
    "every second": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: a[:, ::-1],
    "repeated": lambda a: np.broadcast_to(a[:1], a.shape),
    "overlapping": lambda a: np.lib.stride_tricks.as_strided(a, (3, 3), (16, 16)),
}


@pytest.mark.parametrize("spoil", GAPS.values(), ids=GAPS)
def test_fault_04_gaps_are_refused(spoil):
    bad = spoil(np.ones((2, 3, 4)).transpose(1, 2, 0).copy("K"))
    with pytest.raises(ValueError, match=r"'w': expected a (contiguous|writeable) array"):
        fs.SGD({"w": bad}, lr=1.0)


def test_rows_want_c_order():
    w = np.ones((2, 3, 4)).transpose(1, 2, 0)
    with pytest.raises(ValueError, match=r"rows in C order for rowwiseadagrad, got .* strides \("):
        fs.RowwiseAdagrad({"w": w})
    opt = fs.SGD({"w": w}, lr=1.0)
    with refused(opt, ValueError, "'w': expected an array of rows in C order for step_rows"):
        opt.step_rows("w", [0], np.ones((1, 4, 2)))


@pytest.mark.filterwarnings("ignore:Setting the strides:DeprecationWarning")
def test_an_array_whose_strides_are_changed():
    w = np.ones(48)[:24].reshape(2, 3, 4).transpose(1, 2, 0)
    opt = fs.SGD({"w": w}, lr=1.0)
    w.strides = (16, 96, 8)
    with refused(opt, fs.ArrayChangedError, "parameter 'w': expected the array as it was"):
        opt.step({"w": np.ones((2, 3, 4)).transpose(1, 2, 0)})
