"""Steps over some rows of a parameter."""

import sys

import numpy as np
import pytest

import fusedstep as fs
from cases import CASE_IDS, CASES, DTYPES, LAYERWISE, THREADS, awkward_numbers, same_bits
from fusedstep import _core
from optimizers import refused
from row_steps import Rows
from whole_step import bfloat16_bits

ROWS, WIDTH = 50, 33
LISTS = {
    "sorted": [0, 3, 49],
    "unsorted": [7, 2, 40, 1],
    "repeated": [5, 5, 1, 5, 9, 1, 5, 0, 5, 5],
    "all": list(range(ROWS)),
}


ELEMENTWISE = [
    pytest.param(*case, id=case_id)
    for case, case_id in zip(CASES, CASE_IDS, strict=True)
    if case[0] not in LAYERWISE
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), ELEMENTWISE)
def test_rows(rule, options, dtype):
    rng = np.random.default_rng(1)
    start = rng.standard_normal((ROWS, WIDTH)).astype(dtype)
    steps = [
        (np.array(indices), awkward_numbers(rng, len(indices) * WIDTH, dtype).reshape(-1, WIDTH))
        for indices in LISTS.values()
    ]
    reference = Rows(rule, options, start)
    for indices, rows in steps:
        reference.step(indices, rows)
    for isa in fs.available_isas():
        for threads in THREADS:
            _core.use_isa(isa)
            fs.set_num_threads(threads)
            table = start.copy()
            opt = fs.create(rule, {"table": table}, **options)
            for indices, rows in steps:
                assert opt.step_rows("table", indices, rows) == (True, None)
            assert same_bits(table, reference.table), (isa, threads)
            for name, value in reference.run.state.items():
                assert same_bits(opt.state["table"][name], value), (isa, threads, name)
            assert opt.state["table"]["step"] == len(steps)
            assert opt.step_count == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_pass_through_the_pipeline(dtype):
    rng = np.random.default_rng(2)
    start = rng.standard_normal((400, 1000)).astype(dtype)
    indices = rng.integers(0, 400, 300)
    rows = rng.standard_normal((300, 1000)).astype(dtype)
    options = {"max_grad_norm": 0.5, "max_grad_value": 0.001, "weight_decay": 0.1}
    reference = Rows("adam", options, start)
    norm = reference.step(indices, rows, 3.0)
    for threads in THREADS:
        fs.set_num_threads(threads)
        table, copy = start.copy(), np.zeros(start.shape, np.uint16)
        own = {"working_copy": {"t": copy}} if dtype == "float32" else {}
        opt = fs.Adam({"t": table}, **options, ema_decay=0.9, skip_nonfinite=True, **own)
        assert opt.step_rows("t", indices, rows, grad_scale=3.0) == (True, norm)
        assert same_bits(table, reference.table)
        assert same_bits(opt.ema["t"], reference.ema)
        named = np.unique(indices)
        if own:
            assert np.array_equal(copy[named], bfloat16_bits(table[named]))
            assert np.array_equal(copy, bfloat16_bits(table))
        bad, before = rows.copy(), table.copy()
        bad[7, 3] = np.nan
        assert not opt.step_rows("t", indices, bad).applied
        assert same_bits(table, before)


# In one chunk and more, whole and not, as long as is gathered into L1 (512 bytes) and longer.
WIDTHS = (1, 2, 3, 4, 5, 7, 8, 12, 16, 17, 31, 64, 65, 128, 129, 2048, 2049)
ORDERS = {
    "rising": lambda rng, count: np.sort(rng.permutation(2 * count)[:count]),
    "shuffled": lambda rng, count: rng.permutation(2 * count)[:count],
    "repeated": lambda rng, count: rng.integers(0, 2 * count, count),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_of_every_width(dtype, width, order):
    """Bare and with all that a step can do, by as many threads as there are."""
    rng = np.random.default_rng(4)
    count = max(5, 1 + 10_000 // width)
    indices = ORDERS[order](rng, count)
    start = rng.standard_normal((2 * count, width)).astype(dtype)
    rows = rng.standard_normal((count, width)).astype(dtype)
    whole = {"weight_decay": 0.1, "max_grad_norm": 0.5, "amsgrad": True}
    for options, scale in (({}, 1.0), (whole, 3.0)):
        reference = Rows("adam", options, start)
        norm = reference.step(indices, rows, scale)
        own = {"ema_decay": 0.9} if options else {}
        for isa in fs.available_isas():
            for threads in THREADS:
                _core.use_isa(isa)
                fs.set_num_threads(threads)
                table, copy = start.copy(), np.zeros(start.shape, np.uint16)
                if options and dtype == "float32":
                    own["working_copy"] = {"t": copy}
                opt = fs.Adam({"t": table}, **options, **own)
                result = opt.step_rows("t", indices, rows, grad_scale=scale)
                assert result == (True, norm if options else None), (isa, threads)
                assert same_bits(table, reference.table), (isa, threads)
                for name, value in reference.run.state.items():
                    assert same_bits(opt.state["t"][name], value), (isa, threads, name)
                if "ema_decay" in own:
                    assert same_bits(opt.ema["t"], reference.ema), (isa, threads)
                if "working_copy" in own:
                    named = np.unique(indices)
                    assert np.array_equal(copy[named], bfloat16_bits(table[named]))
                    assert np.array_equal(copy, bfloat16_bits(table))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("width", [4, 200])
def test_huge_gradients_of_rows_are_finite(dtype, width):
    """Their squares are not, in float64; the norm is that of the named rows."""
    rows = np.full((3, width), np.finfo(dtype).max)
    opt = fs.SGD({"w": np.zeros((5, width), dtype)}, lr=1e-3, skip_nonfinite=True)
    assert opt.step_rows("w", np.array([0, 2, 4]), rows).applied
    assert opt.step_rows("w", np.array([4, 2, 0]), rows).applied
    rows[1, 3] = np.inf
    assert not opt.step_rows("w", np.array([0, 2, 4]), rows).applied
    assert not opt.step_rows("w", np.array([4, 2, 0]), rows).applied


def test_rows_without_elements():
    opt = fs.Adam({"w": np.zeros((5, 0))}, max_grad_norm=1.0)
    assert opt.step_rows("w", np.array([4, 0]), np.zeros((2, 0))) == (True, 0.0)


def test_far_apart_rows_of_a_long_table():
    """Their numbers need every digit by which they are sorted."""
    table = np.zeros((3_000_000, 1), np.float32)
    indices = np.array([2_999_999, 0, 2047, 2048, 1 << 20, (1 << 21) + 1, 0, 255, 256] * 200)
    fs.SGD({"w": table}, lr=1.0).step_rows("w", indices, np.ones((len(indices), 1), np.float32))
    assert np.flatnonzero(table[:, 0]).tolist() == sorted(set(indices.tolist()))
    assert table[[0, 2048], 0].tolist() == [-400, -200]


def test_every_row_once_is_a_dense_step():
    rng = np.random.default_rng(3)
    start, grad = rng.standard_normal((2, 20, 3, 5)).astype(np.float32)
    dense, lazy = start.copy(), start.copy()
    order = rng.permutation(20)
    a, b = fs.AdamW({"w": dense}), fs.AdamW({"w": lazy})
    for _ in range(3):
        a.step({"w": grad})
        b.step_rows("w", order.astype(np.int32), grad[order])
    assert same_bits(dense, lazy)
    assert same_bits(a.state["w"]["exp_avg_sq"], b.state["w"]["exp_avg_sq"])


@pytest.mark.parametrize("rule", [rule for rule in fs.available() if rule not in LAYERWISE])
def test_dense_steps_after_rows_know_each_count(rule):
    # Steps of rows move one parameter's counter: its neighbour must not follow.
    rng = np.random.default_rng(5)
    start = {name: rng.standard_normal((4, 3)) for name in ("before", "table", "after")}
    grads = {name: rng.standard_normal((4, 3)) for name in start}
    rows = rng.standard_normal((2, 3))
    together = {name: value.copy() for name, value in start.items()}
    alone = {name: value.copy() for name, value in start.items()}
    opt = fs.create(rule, together)
    own = {name: fs.create(rule, {name: value}) for name, value in alone.items()}
    opt.bind(grads)
    for _ in range(3):
        opt.step()
        opt.step_rows("table", np.array([2, 0]), rows)
        for name, one in own.items():
            one.step({name: grads[name]})
        own["table"].step_rows("table", np.array([2, 0]), rows)
    for name, value in together.items():
        assert same_bits(value, alone[name]), name


@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_vectors_have_rows_of_one_number(kind):
    w = np.zeros(5)
    fs.SGD(w, lr=1.0).step_rows("param", kind([4, 4]), np.array([1.0, 2.0]))
    assert w.tolist() == [0, 0, 0, 0, -3]


def test_indices_of_any_stride():
    w = np.zeros((5, 2))
    indices = np.array([0, 9, 3, 9, 4, 9], np.int32)[::2]
    fs.SGD({"w": w}, lr=1.0).step_rows("w", indices, np.ones((3, 2)))
    assert np.flatnonzero(w[:, 0]).tolist() == [0, 3, 4]


def test_no_index_is_no_step():
    opt = fs.Adam({"w": np.ones((5, 2))}, max_grad_norm=1.0)
    before = opt.state_dict()["state"]["w"]
    assert opt.step_rows("w", np.array([], np.int64), np.ones((0, 2))) == (True, None)
    assert opt.state["w"]["step"] == before["step"] == 0
    assert np.all(opt.params["w"] == 1)


@pytest.mark.parametrize("rule", LAYERWISE)
def test_rules_that_need_a_whole_array_refuse_rows(rule):
    opt = fs.create(rule, {"w": np.ones((5, 2))})
    with refused(opt, ValueError, "step_rows of 'w': expected an element-wise rule, got", rule):
        opt.step_rows("w", np.array([1]), np.ones((1, 2)))


def test_a_frozen_table_stays_as_it_is():
    opt = fs.Adam({"w": np.ones((5, 2))})
    opt.freeze("w")
    opt.step_rows("w", np.array([1]), np.ones((1, 2)))
    assert np.all(opt.params["w"] == 1)
    with refused(opt, IndexError, "got 5"):
        opt.step_rows("w", np.array([5]), np.ones((1, 2)))


BAD = {
    "negative": (np.array([0, -1]), np.ones((2, 3)), IndexError, "got -1 at position 1"),
    "too large": (np.array([4, 3]), np.ones((2, 3)), IndexError, "0 <= index < 4, got 4"),
    "int32": (np.array([3, 4], "i4"), np.ones((2, 3)), IndexError, "got 4 at position 1"),
    "uint64": (np.array([1], np.uint64), np.ones((1, 3)), TypeError, "int32 or int64"),
    "float": (np.array([1.0]), np.ones((1, 3)), TypeError, "int32 or int64"),
    "bool": (np.array([True]), np.ones((1, 3)), TypeError, "int32 or int64"),
    "list of floats": (
        [1.0],
        np.ones((1, 3)),
        TypeError,
        "one-dimensional array of int32 or int64",
    ),
    "list of bools": (
        [True],
        np.ones((1, 3)),
        TypeError,
        "one-dimensional array of int32 or int64",
    ),
    "ragged list": ([1, [2]], np.ones((1, 3)), TypeError, "got list"),
    "list of too large": (
        [2**63],
        np.ones((1, 3)),
        TypeError,
        "one-dimensional array of int32 or int64",
    ),
    "two dimensions": (np.array([[1]]), np.ones((1, 3)), TypeError, "one-dimensional"),
    "too few rows": (np.array([1, 2]), np.ones((1, 3)), ValueError, "shape (2, 3)"),
    "short rows": (np.array([1]), np.ones((1, 2)), ValueError, "shape (1, 3)"),
    "flat rows": (np.array([1]), np.ones(3), ValueError, "shape (1, 3)"),
    "other dtype": (np.array([1]), np.ones((1, 3), np.float32), TypeError, "expected float64"),
    "Fortran rows": (
        np.array([1, 2]),
        np.asfortranarray(np.ones((2, 3))),
        ValueError,
        "in C order",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows(case):
    indices, rows, error, words = BAD[case]
    opt = fs.Adam({"w": np.ones((4, 3))}, ema_decay=0.9)
    with refused(opt, error, "'w'", "expected", "got", words, untouched=[rows]):
        opt.step_rows("w", indices, rows)


def test_bad_tables():
    opt = fs.Adam({"f": np.ones((4, 3), order="F"), "scalar": np.array(1.0), "w": np.ones((4, 3))})
    one = np.array([0])
    with refused(opt, ValueError, "'f'", "C order"):
        opt.step_rows("f", one, np.ones((1, 3)))
    with refused(opt, ValueError, "'scalar'", "array of rows"):
        opt.step_rows("scalar", one, np.ones(1))
    with refused(opt, ValueError, "name: no parameter is named 'x'; there are f, scalar, w"):
        opt.step_rows("x", one, np.ones((1, 3)))
    with refused(opt, ValueError, "rows of 'w'", "overlaps", "parameter 'w'"):
        opt.step_rows("w", one, opt.params["w"][:1])
    opt.params["w"].flags.writeable = False
    with refused(opt, ValueError, "parameter 'w'", "read-only"):
        opt.step_rows("w", one, np.ones((1, 3)))


def test_a_table_that_was_reshaped():
    """Rows would be others than those that were handed over."""
    opt = fs.Adam({"w": np.ones((6, 2)), "v": np.ones(3)})
    opt.params["w"].resize((2, 6), refcheck=False)
    with refused(
        opt, fs.ArrayChangedError, "parameter 'w'", "expected the array as it was", "resized"
    ):
        opt.step_rows("w", np.array([1]), np.ones((1, 6)))
    opt.step({"w": np.ones((2, 6)), "v": None})  # the elements are where they were


def test_indices_may_be_spelled_in_any_native_way():
    for kind in ("i4", "=i4", "i8", "l", "q", "intc"):
        w = np.ones((4, 3))
        fs.SGD({"w": w}, lr=1.0).step_rows("w", np.array([2], kind), np.ones((1, 3)))
        assert (w.sum(axis=1) == [3, 3, 0, 3]).all()
    opt = fs.SGD({"w": np.ones((4, 3))})
    for kind in ("u4", "i2", "f4", ">i4" if sys.byteorder == "little" else "<i4"):
        with refused(opt, TypeError, "indices of 'w'", "int32 or int64"):
            opt.step_rows("w", np.array([2]).astype(kind), np.ones((1, 3)))
