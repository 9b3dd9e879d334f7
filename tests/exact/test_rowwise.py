"""Rules whose states are one number a row, over rows of every kind; the rest enumerates them."""

import numpy as np
import pytest

import fusedstep as fs
from cases import ROWWISE, THREADS, awkward_numbers, every_dtype, same_bits
from fusedstep import _core
from optimizers import refused
from reductions import clip_factor, grad_norm
from reference import Run
from row_steps import Rows
from whole_step import bfloat16_bits, combine, same_bfloat16

STEPS = 2
BLOCK = 2048  # of a sum
ROW_SIZES = (1, 3, 16, 17, 64, BLOCK, BLOCK + 1, 40 * BLOCK + 5)
ELEMENTS = 300_000  # enough for several threads
INITIAL = {"initial_accumulator_value": 0.25}

every_rowwise_rule = pytest.mark.parametrize("rule", ROWWISE)
every_row_size = pytest.mark.parametrize("row_size", ROW_SIZES)


def settings():
    for isa in fs.available_isas():
        for threads in THREADS:
            _core.use_isa(isa)
            fs.set_num_threads(threads)
            yield isa, threads


def table(rng, row_size, dtype, make=awkward_numbers):
    shape = (max(5, ELEMENTS // row_size), row_size)
    return make(rng, shape[0] * row_size, dtype).reshape(shape)


def ordinary_numbers(rng, size, dtype):
    return rng.standard_normal(size).astype(dtype)


def is_run(opt, run, name="w"):
    """Whether an optimizer's array and states are the reference's."""
    states = [same_bits(opt.state[name][state], value) for state, value in run.state.items()]
    return same_bits(opt.params[name], run.param) and all(states)


@every_row_size
@every_dtype
@every_rowwise_rule
def test_dense_steps(rule, dtype, row_size):
    rng = np.random.default_rng(1)
    start = table(rng, row_size, dtype, ordinary_numbers)
    grads = [table(rng, row_size, dtype) for _ in range(STEPS)]
    run = Run(rule, INITIAL, start)
    for grad in grads:
        run.step(grad)
    for setting in settings():
        opt = fs.create(rule, {"w": start.copy()}, **INITIAL)
        for grad in grads:
            opt.step({"w": grad})
        assert is_run(opt, run), setting


@every_row_size
@every_dtype
@every_rowwise_rule
def test_dense_steps_with_everything(rule, dtype, row_size):
    rng = np.random.default_rng(2)
    start = table(rng, row_size, dtype, ordinary_numbers)
    sets = [table(rng, row_size, dtype, ordinary_numbers) for _ in range(3)]
    options = {"weight_decay": 0.1, "maximize": True, "max_grad_norm": 50.0, "max_grad_value": 0.2}
    run, f = Run(rule, options, start), start.dtype.type
    mean = combine(sets, [1.0, 2.0, 0.5], 3.5)
    norm = grad_norm([mean], 3.0)
    run.step(mean, 3.0, clip_factor(50.0, norm))
    ema = f(0.9) * start + f(1.0 - 0.9) * run.param
    for setting in settings():
        copy = np.zeros(start.shape, np.uint16)
        own = {"working_copy": {"w": copy}} if dtype == "float32" else {}
        opt = fs.create(rule, {"w": start.copy()}, **options, ema_decay=0.9, **own)
        grads = [{"w": grads.copy()} for grads in sets]
        result = opt.step_mean(grads, [1.0, 2.0, 0.5], grad_scale=3.0, zero_grads=True)
        assert result == (True, norm)
        assert is_run(opt, run), setting
        assert same_bits(opt.ema["w"], ema), setting
        assert not any(np.any(grad["w"]) for grad in grads)
        assert not own or same_bfloat16(copy, bfloat16_bits(run.param)), setting


@every_row_size
@every_dtype
@every_rowwise_rule
def test_steps_of_rows(rule, dtype, row_size):
    rng = np.random.default_rng(3)
    start = table(rng, row_size, dtype, ordinary_numbers)[:100]
    steps = []
    for _ in range(STEPS):
        indices = rng.integers(0, len(start), 40)  # unsorted, some of them repeated
        steps.append((indices, awkward_numbers(rng, 40 * row_size, dtype).reshape(40, row_size)))
    options = {"weight_decay": 0.1, **INITIAL}
    reference = Rows(rule, options, start)
    for indices, rows in steps:
        reference.step(indices, rows, 3.0)
    for setting in settings():
        opt = fs.create(rule, {"w": start.copy()}, **options)
        for indices, rows in steps:
            opt.step_rows("w", indices, rows, grad_scale=3.0)
        assert same_bits(opt.params["w"], reference.table), setting
        for state, value in reference.run.state.items():
            assert same_bits(opt.state["w"][state], value), setting


@every_row_size
@every_dtype
@every_rowwise_rule
def test_every_row_once_is_a_dense_step(rule, dtype, row_size):
    rng = np.random.default_rng(4)
    start, grad = (table(rng, row_size, dtype, ordinary_numbers)[:200] for _ in range(2))
    dense, lazy = (fs.create(rule, {"w": start.copy()}) for _ in range(2))
    for _ in range(STEPS):
        order = rng.permutation(len(start))
        dense.step({"w": grad})
        lazy.step_rows("w", order, grad[order])
    assert same_bits(dense.params["w"], lazy.params["w"])
    assert same_bits(dense.state["w"]["sum"], lazy.state["w"]["sum"])


# The sum of a row of so many blocks has a third level.
@pytest.mark.parametrize("row_size", [BLOCK**2, BLOCK**2 + 3 * BLOCK + 5])
@every_rowwise_rule
def test_rows_of_millions(rule, row_size):
    rng = np.random.default_rng(5)
    start, grad = rng.standard_normal((2, 2, row_size), np.float32)
    run = Run(rule, {}, start)
    run.step(grad)
    opt = fs.create(rule, {"w": start})
    opt.step({"w": grad})
    assert is_run(opt, run)


@pytest.mark.parametrize("shape", [(7, 3, 5), (7, 15, 1), (7, 1, 15)])
def test_a_row_is_all_that_lies_behind_the_first_axis(shape):
    rng = np.random.default_rng(6)
    start, grad = rng.standard_normal((2, 7, 15))
    flat, deep = (fs.RowwiseAdagrad({"w": start.reshape(s).copy()}) for s in ((7, 15), shape))
    flat.step({"w": grad})
    deep.step({"w": grad.reshape(shape)})
    assert same_bits(flat.params["w"], deep.params["w"].reshape(7, 15))
    assert same_bits(flat.state["w"]["sum"], deep.state["w"]["sum"])


@every_dtype
def test_rows_of_one_number_are_adagrads(dtype):
    rng = np.random.default_rng(7)
    start, options = ordinary_numbers(rng, 1_003, dtype), {"weight_decay": 0.1, "lr_decay": 0.1}
    one, other = (cls({"w": start.copy()}, **options) for cls in (fs.RowwiseAdagrad, fs.Adagrad))
    for _ in range(3):
        grad = {"w": awkward_numbers(rng, start.size, dtype)}
        one.step(grad)
        other.step(grad)
    assert same_bits(one.params["w"], other.params["w"])
    assert same_bits(one.state["w"]["sum"], other.state["w"]["sum"])


@every_dtype
@pytest.mark.parametrize("strange", [np.nan, np.inf])
@every_rowwise_rule
def test_strange_numbers_stay_in_their_row(rule, strange, dtype):
    rng = np.random.default_rng(8)
    start, grad = (table(rng, BLOCK + 1, dtype, ordinary_numbers) for _ in range(2))
    opt, control = (fs.create(rule, {"w": start.copy()}) for _ in range(2))
    control.step({"w": grad})
    bad = grad.copy()
    bad[2, 3] = strange
    opt.step({"w": bad})
    rest = np.arange(len(start)) != 2
    assert not np.isfinite(opt.params["w"][2, 3])
    assert not np.isfinite(opt.state["w"]["sum"][2])
    assert same_bits(opt.params["w"][rest], control.params["w"][rest])
    assert same_bits(opt.state["w"]["sum"][rest], control.state["w"]["sum"][rest])


@every_dtype
@pytest.mark.parametrize("shape", [(0,), (0, 4), (3, 0), (2, 0, 5)])
@every_rowwise_rule
def test_states_of_empty_rows_do_not_change(rule, shape, dtype):
    opt = fs.create(rule, {"w": np.zeros(shape, dtype)}, **INITIAL, max_grad_norm=1.0)
    assert opt.state["w"]["sum"].shape == shape[:1]
    opt.step({"w": np.zeros(shape, dtype)})
    opt.step_rows("w", np.arange(shape[0]), np.zeros(shape, dtype))
    assert np.all(opt.state["w"]["sum"] == 0.25)


@every_rowwise_rule
def test_an_array_without_axes_is_one_row(rule):
    opt = fs.create(rule, {"w": np.array(1.0)})
    opt.step({"w": np.array(3.0)})
    assert opt.state["w"]["sum"].tolist() == [9.0]
    with refused(opt, ValueError, "'w'", "expected an array of rows", "step_rows, got shape ()"):
        opt.step_rows("w", np.array([0]), np.ones(1))


@every_rowwise_rule
def test_fortran_order_is_refused(rule):
    words = rf"'w': expected an array of rows in C order for {rule}, got shape \(2, 3\) in Fortran"
    w, g, s = np.ones((2, 3), order="F"), np.ones((2, 3), order="F"), np.zeros(2)
    with pytest.raises(ValueError, match=words):
        fs.create(rule, {"v": np.ones(3), "w": w})
    with pytest.raises(ValueError, match=words.replace("'w'", "'param'")):
        getattr(fs.functional, rule)(w, g, s, step=1)
    opt = fs.create(rule, {"v": np.ones(3)})
    with refused(opt, ValueError, "parameter 'w'", "C order", untouched=[w]):
        opt.add_group({"params": {"w": w}})
    assert np.all(w == 1)
    assert not np.any(s)
    # Of one row, or of rows of one number, both orders are one.
    fs.create(rule, [np.ones((1, 3), order="F"), np.ones((3, 1), order="F")])


@every_rowwise_rule
def test_saved_states_have_one_number_a_row(rule):
    opt = fs.create(rule, {"w": np.ones((4, 3))})
    opt.step({"w": np.ones((4, 3))})
    for shape in [(4, 3), (4, 1), (3,), ()]:
        saved = opt.state_dict()
        saved["state"]["w"]["sum"] = np.zeros(shape)
        with refused(opt, ValueError, f"state 'sum': expected shape (4,), got {shape}"):
            opt.load_state_dict(saved)


@every_rowwise_rule
def test_a_table_that_was_reshaped(rule):
    for shape in [(2, 6), (12, 1), (12,)]:
        opt = fs.create(rule, {"w": np.ones((6, 2)), "v": np.ones((64, 2))})
        opt.bind({"w": np.ones((6, 2))})
        opt.params["w"].resize(shape, refcheck=False)
        rows = np.ones((1, *shape[1:]))
        for call in (
            opt.step,
            lambda opt=opt, shape=shape: opt.step({"w": np.ones(shape)}),
            lambda opt=opt, shape=shape, rows=rows: opt.step_rows(
                "w", np.array([shape[0] - 1]), rows
            ),
        ):
            with refused(
                opt, fs.ArrayChangedError, "parameter 'w'", "expected the array as it was"
            ):
                call()
