"""One step of dense gradients and rows: one norm, one count, all or nothing."""

import threading

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, LAYERWISE, THREADS, same_bits
from fusedstep import _core
from optimizers import everything, refused, richest
from reductions import clip_factor, norm_of, squares
from reference import Run
from row_steps import Rows, row_squares

SHAPES = {"before": (37,), "table": (50, 33), "between": (3000,), "other": (20, 4), "after": (5, 7)}
DENSE, TABLES = ("before", "between", "after"), ("table", "other")
ELEMENTWISE = [rule for rule in fs.available() if rule not in LAYERWISE]
every_rule = pytest.mark.parametrize("rule", ELEMENTWISE)


def start(dtype, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(shape).astype(dtype) for name, shape in SHAPES.items()}


def batch(dtype, seed, limit=12):
    """Dense gradients by name, and indices with repetitions and rows of each table."""
    rng = np.random.default_rng(seed)
    dense = {name: rng.standard_normal(SHAPES[name]).astype(dtype) for name in DENSE}
    rows = {}
    for name in TABLES:
        indices = rng.integers(0, SHAPES[name][0], limit)
        rows[name] = indices, rng.standard_normal((limit, SHAPES[name][1])).astype(dtype)
    return dense, rows


def together(opt, dense, rows, order=TABLES, **how):
    with opt.one_step(**how) as one:
        for name in order:
            assert opt.step_rows(name, *rows[name]) == (False, None)
        assert not opt.step(dense)
    return one.result


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [None, 0.5])
def test_equals_the_reference(rule, dtype, limit):
    options = {**richest(rule), "max_grad_norm": limit}
    params = start(dtype)
    dense_runs = {name: Run(rule, options, params[name]) for name in DENSE}
    tables = {name: Rows(rule, options, params[name]) for name in TABLES}
    batches = [batch(dtype, seed) for seed in (1, 2, 3)]
    norms = []
    for dense, rows in batches:
        sums = squares([dense.get(name) for name in SHAPES], 3.0)
        norm = norm_of([*sums, *(s for name in TABLES for s in row_squares(*rows[name], 3.0))])
        clip = 1.0 if limit is None else clip_factor(limit, norm)
        for name, run in dense_runs.items():
            run.step(dense[name], 3.0, clip)
        for name, table in tables.items():
            table.step(*rows[name], 3.0, norm)
        norms.append(None if limit is None else norm)

    for isa in fs.available_isas():
        for threads in THREADS:
            _core.use_isa(isa)
            fs.set_num_threads(threads)
            opt = fs.create(rule, start(dtype), **options)
            for (dense, rows), norm in zip(batches, norms, strict=True):
                assert together(opt, dense, rows, grad_scale=3.0) == (True, norm)
            for name, param in opt.params.items():
                run = dense_runs[name] if name in DENSE else tables[name].run
                expected = run.param if name in DENSE else tables[name].table
                assert same_bits(param, expected), (isa, threads, name)
                for state, value in run.state.items():
                    assert same_bits(opt.state[name][state], value), (isa, threads, name, state)
                assert opt.state[name]["step"] == len(batches)
            assert opt.step_count == len(batches)


def test_the_order_of_the_calls_does_not_matter():
    results = []
    for order in (TABLES, TABLES[::-1]):
        opt = fs.Adam(start("float32"), max_grad_norm=0.1)
        norm = together(opt, *batch("float32", 1), order).grad_norm
        results.append([norm, *(param.tobytes() for param in opt.params.values())])
    assert results[0] == results[1]


@every_rule
def test_rows_that_are_the_step(rule):
    opt, control = (fs.create(rule, start("float64")) for _ in range(2))
    for seed in (1, 2):
        indices, rows = batch("float64", seed)[1]["table"]
        opt.step_rows("table", indices, rows, advance=True)
        control.step_rows("table", indices, rows)
    assert same_bits(opt.params["table"], control.params["table"])
    assert (opt.step_count, control.step_count) == (2, 0)


def test_a_schedule_follows_it():
    rate = fs.schedules.Linear(1.0, total_steps=4, warmup_steps=2)
    for rows_are_the_step in (False, True):
        w = np.zeros((4, 2))
        opt = fs.SGD({"w": w, "b": np.zeros(3)}, lr=rate)
        for _ in range(3):
            rows = [0], np.ones((1, 2))
            if rows_are_the_step:
                opt.step_rows("w", *rows, advance=True)
            else:
                with opt.one_step():
                    opt.step_rows("w", *rows)
                    opt.step({"b": np.ones(3)})
        assert opt.step_count == 3
        assert w[0, 0] == -sum(rate(step) for step in range(3))


def test_fault_37_rows_under_a_schedule_that_nothing_advances():
    opt = fs.SGD({"w": np.zeros((4, 2))}, lr=fs.schedules.Linear(1.0, 9, warmup_steps=2))
    rows = [0], np.ones((1, 2))
    opt.step_rows("w", *rows)
    with refused(opt, RuntimeError, "'w'", "schedule", "advance=True", "one_step()"):
        opt.step_rows("w", *rows)
    opt.step_rows("w", *rows, advance=False)
    opt.step({"w": np.ones((4, 2))})
    opt.step_rows("w", *rows)
    with pytest.raises(TypeError, match="advance: expected True or False, got 1"):
        opt.step_rows("w", *rows, advance=1)


@every_rule
def test_nothing_happens_where_a_part_is_refused(rule):
    opt = fs.create(rule, start("float32"), skip_nonfinite=True)
    dense, rows = batch("float32", 1)
    with refused(opt, IndexError, "indices of 'other'"):
        together(opt, dense, {**rows, "other": ([99], rows["other"][1][:1])})
    with refused(opt, ValueError, "gradient of 'after'"):
        together(opt, {**dense, "after": np.ones(3, np.float32)}, rows)
    with refused(opt, ZeroDivisionError), opt.one_step():
        opt.step(dense)
        raise ZeroDivisionError
    for bad in (dense["between"], rows["other"][1]):
        before, kept = everything(opt), bad.flat[3]
        bad.flat[3] = np.nan
        result = together(opt, dense, rows)
        assert not result.applied
        assert np.isnan(result.grad_norm)
        assert everything(opt) == before
        bad.flat[3] = kept
    together(opt, dense, rows)
    assert opt.step_count == 1


def test_an_error_names_the_part_with_nan():
    opt = fs.Adam(start("float32"), error_if_nonfinite=True)
    dense, rows = batch("float32", 1)
    rows["other"][1][2, 1] = np.inf
    with refused(opt, FloatingPointError, "gradient of 'other'"):
        together(opt, dense, rows)


def test_slips():
    opt = fs.Adam(start("float32"))
    dense, rows = batch("float32", 1)
    table = ("table", *rows["table"])
    with refused(opt, ValueError, "one_step", "got neither"), opt.one_step():
        pass
    with refused(opt, RuntimeError, "cannot nest"), opt.one_step(), opt.one_step():
        pass
    with refused(opt, RuntimeError, "step() twice"), opt.one_step():
        opt.step(dense)
        opt.step(dense)
    with refused(opt, RuntimeError, "'table'", "twice"), opt.one_step():
        opt.step_rows(*table)
        opt.step_rows(*table)
    with refused(opt, ValueError, "'table'", "rows", "gradient"), opt.one_step():
        opt.step_rows(*table)
        opt.step({"table": np.ones(SHAPES["table"], np.float32)})
    for call in (
        lambda: opt.step(dense, grad_scale=2.0),
        lambda: opt.step(dense, zero_grads=True),
        lambda: opt.step_rows(*table, grad_scale=2.0),
        lambda: opt.step_rows(*table, advance=True),
    ):
        with refused(opt, ValueError, "no other arguments inside one_step()"), opt.one_step():
            call()
    for call in (opt.step_mean, opt.step_sum):
        with refused(opt, RuntimeError, "inside one_step()"), opt.one_step():
            call([dense])
    with opt.one_step() as one:
        opt.step_rows(*table)
        with pytest.raises(RuntimeError, match="at the end of the block"):
            _ = one.result
    assert one.result.applied


def test_another_thread_is_refused():
    opt = fs.Adam(start("float32"))
    errors = []

    def other():
        try:
            opt.step(batch("float32", 1)[0])
        except RuntimeError as error:
            errors.append(str(error))

    with opt.one_step():
        opt.step(batch("float32", 1)[0])
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert errors == ["cannot step while another thread is inside one_step()"]
    assert opt.step_count == 1


def test_frozen_and_empty_parts_are_left_out():
    opt = fs.Adam(start("float32"))
    before = {name: param.copy() for name, param in opt.params.items()}
    dense, rows = batch("float32", 1)
    opt.freeze("table", "after")
    together(opt, dense, {**rows, "other": (np.zeros(0, int), np.zeros((0, 4), np.float32))})
    changed = [name for name, param in opt.params.items() if not same_bits(param, before[name])]
    assert changed == ["before", "between"]
    assert [opt.state[name]["step"] for name in SHAPES] == [1, 0, 1, 0, 0]
    assert opt.step_count == 1


def test_bound_gradients():
    opt = fs.SGD(start("float32"), lr=1.0)
    dense, rows = batch("float32", 1)
    before = opt.params["before"].copy()
    opt.bind(dense)
    with opt.one_step():
        opt.step()
        opt.step_rows("table", *rows["table"])
    assert same_bits(opt.params["before"], before - dense["before"])
