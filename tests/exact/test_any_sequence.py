"""Random sequences of calls, and after each of them the bits of the reference.

Steps of every kind and steps that fail, options that change, groups that come, parameters that are
frozen, states that are saved and loaded, forks, thread counts and instruction sets: Hypothesis makes
the sequences, and makes one that fails as short as it can.
"""

import copy
import os
import signal
import sys
import traceback
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import fusedstep as fs
from cases import LAYERWISE, RULES, THREADS, option_sets, same_bits
from fusedstep import _core
from narrow_modes import FORMATS, MODES, assert_equal, cast, storage, takes
from optimizers import everything, refused
from training import Training

SHAPES = [(1,), (0,), (5,), (2_049,), (7, 3), (5, 128), (3, 256), (41_000,)]
NATIVE = [
    {"param": dtype, "kept": "nearest", "state": "float32"} for dtype in ("float32", "float64")
]
SEEDS = st.integers(0, 2**32)
SCALES = st.sampled_from([1.0, 3.0, 1024.0])
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "lr": st.sampled_from([1e-3, 0.01, 0.3]),
        "weight_decay": st.sampled_from([0.0, 0.01]),
        "maximize": st.booleans(),
        "max_grad_norm": st.sampled_from([None, 0.5, 1e9]),
        "max_grad_value": st.sampled_from([None, 0.3]),
    },
)
# How to spoil the gradient of one parameter.
SPOILT = {
    "dtype": (TypeError, lambda grad, _: grad.astype(np.complex64)),
    "shape": (ValueError, lambda grad, _: np.resize(grad, (*grad.shape, 2))),
    "list": (TypeError, lambda grad, _: grad.tolist()),
    "missing byte": (ValueError, lambda grad, _: grad.astype(grad.dtype.newbyteorder("S"))),
    "parameter": (ValueError, lambda _, param: param),
}


def numbers(rng, shape, dtype):
    wide = np.float64 if dtype == "float64" else np.float32
    return cast(np.asarray(rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 2), wide), dtype)


def finite_or_not(rng, grads):
    """One of these, with a number in it that is none."""
    name = rng.choice([name for name, grad in grads.items() if grad is not None and grad.size])
    grads[name].reshape(-1)[-1] = np.nan
    return grads


class Sequences(RuleBasedStateMachine):
    """An optimizer beside its reference."""

    def __init__(self):
        super().__init__()
        self.folder = TemporaryDirectory()

    def teardown(self):
        fs.checkpoint.wait()
        self.folder.cleanup()

    @initialize(
        name=st.sampled_from(RULES),
        ema_decay=st.sampled_from([None, 0.9]),
        is_skipping=st.booleans(),
        per_group=st.booleans(),
        seed=st.sampled_from([0, 7]),
        data=st.data(),
    )
    def construct(self, name, ema_decay, is_skipping, per_group, seed, data):
        self.rule = name
        self.policy = {
            "ema_decay": ema_decay,
            "skip_nonfinite": is_skipping,
            "clip_per_group": per_group,
            "seed": seed,
        }
        self.model = Training(name, ema_decay, is_skipping, per_group)
        self.built, self.saved = [], []
        self.opt = fs.create(name, [self.new_group(data)], **self.policy)

    def new_group(self, data):
        """Parameters with their options, which the reference follows from here on."""
        options = data.draw(st.sampled_from(option_sets(self.rule)))
        modes = [*NATIVE, *(mode for mode in MODES if takes(self.rule, options, mode))]
        mode = data.draw(st.sampled_from(modes))
        options = {**options, **self.allowed(data.draw(CHANGES))}
        if self.policy["clip_per_group"]:
            options["max_grad_norm"] = options["max_grad_norm"] or 1.0
        shapes = data.draw(st.lists(st.sampled_from(SHAPES), min_size=1, max_size=3))
        rng = np.random.default_rng(data.draw(SEEDS))
        # An array of one dtype beside others in native modes, where options do not depend on it.
        first = len(self.model.runs)
        params = {
            f"p{first + i}": numbers(rng, shape, mode["param"]) for i, shape in enumerate(shapes)
        }
        self.model.add_group(params, options, storage(mode, seed=self.policy["seed"]))
        stored = storage(mode) if mode not in NATIVE else {}
        self.built.append({"params": [*params], **options, **stored})
        return {**self.built[-1], "params": params}

    def allowed(self, changes, is_built=False):
        """Those that the rule and the policy let be."""
        left_out = set()
        if self.rule == "rprop" and is_built:
            left_out.add("lr")  # where its lengths start
        if self.policy["clip_per_group"] and changes.get("max_grad_norm") is None:
            left_out.add("max_grad_norm")  # there is one in every group
        return {name: value for name, value in changes.items() if name not in left_out}

    def gradients(self, seed, everyone=False):
        """Of some parameters, in whatever formats they may be."""
        rng, grads = np.random.default_rng(seed), {}
        for name, param in self.opt.params.items():
            dtype = "float64" if param.dtype == np.float64 else FORMATS[rng.integers(3)]
            if everyone or rng.random() < 0.7:
                grads[name] = numbers(rng, param.shape, dtype)
        return grads or {name: numbers(rng, param.shape, param.dtype.name)}

    def tables(self):
        return [
            name
            for name, param in self.opt.params.items()
            if param.ndim == 2 and not (param.shape[1] % 128 and "p" in name and self.is_8bit(name))
        ]

    def is_8bit(self, name):
        (group,) = (group for group in self.built if name in group["params"])
        return group.get("state_dtype") == "8bit"

    # Steps ---------------------------------------------------------------------------------------

    @rule(
        seed=SEEDS,
        scale=SCALES,
        zero=st.booleans(),
        how=st.sampled_from(["by name", "flat", "bound"]),
    )
    def step(self, seed, scale, zero, how):
        grads = self.gradients(seed)
        expected = self.model.step(grads, scale)
        if how == "bound":
            self.opt.bind(grads)
            result = self.opt.step(grad_scale=scale, zero_grads=zero)
            self.opt.bind(None)
        else:
            passed = grads if how == "by name" else [grads.get(name) for name in self.opt.params]
            result = self.opt.step(passed, grad_scale=scale, zero_grads=zero)
        assert_result(result, expected)
        assert not zero or not any(np.any(grad) for grad in grads.values())

    @rule(seed=SEEDS, weights=st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=1, max_size=4))
    def step_mean(self, seed, weights):
        sets = [self.gradients(seed + i, everyone=True) for i in range(len(weights))]
        expected = self.model.step_mean(sets, weights)
        assert_result(self.opt.step_mean(sets, weights), expected)

    @precondition(lambda self: self.rule not in LAYERWISE and self.tables())
    @rule(seed=SEEDS, scale=SCALES, data=st.data())
    def step_rows(self, seed, scale, data):
        table = data.draw(st.sampled_from(self.tables()))
        rng, (count, width) = np.random.default_rng(seed), self.opt.params[table].shape
        indices = rng.integers(0, count, rng.integers(1, 9))
        dtype = self.opt.params[table].dtype.name
        rows = numbers(rng, (len(indices), width), dtype)
        expected = self.model.step_rows(table, indices, rows, scale)
        assert_result(self.opt.step_rows(table, indices, rows, grad_scale=scale), expected)

    @precondition(lambda self: self.policy["skip_nonfinite"])
    @rule(seed=SEEDS)
    def skipped_step(self, seed):
        grads = self.gradients(seed, everyone=True)
        if self.opt.frozen or not any(grad.size for grad in grads.values()):
            return
        finite_or_not(np.random.default_rng(seed), grads)
        before = everything(self.opt, *grads.values())
        result = self.opt.step(grads, zero_grads=True)
        assert not result.applied
        assert not np.isfinite(result.grad_norm)
        assert everything(self.opt, *grads.values()) == before

    @rule(seed=SEEDS, fault=st.sampled_from([*SPOILT]))
    def failing_step(self, seed, fault):
        grads, (error, spoil) = self.gradients(seed), SPOILT[fault]
        name = np.random.default_rng(seed).choice([*grads])
        if self.opt.params[name].size == 0 and fault == "parameter":
            return
        bad = {**grads, name: spoil(grads[name], self.opt.params[name])}
        with refused(self.opt, error, f"'{name}'", untouched=grads.values()):
            self.opt.step(bad)
        with refused(self.opt, error, f"'{name}'", untouched=grads.values()):
            self.opt.step_mean([grads, bad])

    # What changes between steps ------------------------------------------------------------------

    @rule(data=st.data(), changes=CHANGES)
    def set_options(self, data, changes):
        at = data.draw(st.integers(0, len(self.built) - 1))
        changes = self.allowed(changes, is_built=True)
        self.opt.groups[at].update(changes)
        self.model.set_options(at, changes)

    @rule(data=st.data())
    def refused_option(self, data):
        group = self.opt.groups[data.draw(st.integers(0, len(self.built) - 1))]
        with refused(self.opt, ValueError, "weight_decay"):
            group.update({"maximize": True, "weight_decay": -1.0})

    @precondition(lambda self: len(self.built) < 4)
    @rule(data=st.data())
    def add_group(self, data):
        self.opt.add_group(self.new_group(data))

    @rule(data=st.data())
    def freeze(self, data):
        names = data.draw(st.sets(st.sampled_from([*self.opt.params]), min_size=1))
        self.opt.freeze(*names)
        self.model.frozen |= names

    @rule()
    def unfreeze(self):
        self.opt.unfreeze(*self.opt.params)
        self.model.frozen = set()

    @rule(threads=st.sampled_from(THREADS), isa=st.sampled_from(fs.available_isas()))
    def run_elsewhere(self, threads, isa):
        fs.set_num_threads(threads)
        _core.use_isa(isa)

    @precondition(lambda _: sys.platform != "win32")
    @rule(seed=SEEDS)
    def fork(self, seed):
        """The child makes a step, of which the parent knows nothing."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer Pythons warn of threads at a fork
            child = os.fork()
        if child == 0:
            status = 1
            try:
                signal.alarm(60)  # a hang is a death
                self.step(seed, 1.0, False, "by name")
                self.equals_the_reference()
                status = 0
            except BaseException:  # noqa: BLE001 - nothing of the child gets out
                traceback.print_exc()
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0

    # Saving --------------------------------------------------------------------------------------

    @rule(how=st.sampled_from(["dict", "flat dict", "file", "background"]))
    def save(self, how):
        params = {name: param.copy() for name, param in self.opt.params.items()}
        if "dict" in how:
            saved = self.opt.state_dict(flat="flat" in how)
        else:
            saved = Path(self.folder.name, f"{len(self.saved)}.safetensors")
            self.opt.save(saved, include_params=True, background=how == "background")
        self.saved.append((saved, params, copy.deepcopy(self.model), [*self.built]))

    @precondition(lambda self: self.saved)
    @rule(data=st.data(), is_fresh=st.booleans())
    def load(self, data, is_fresh):
        """Into the same optimizer or a new one; a file has parameters and which are frozen, too."""
        fs.checkpoint.wait()
        saved, params, model, built = data.draw(st.sampled_from(self.saved))
        is_file = isinstance(saved, Path)
        # Groups that were added after another load have the names of those before it.
        is_same = [*map(id, built)] == [*map(id, self.built)]
        if not is_fresh and len(params) != len(self.opt.params):
            with refused(self.opt, fs.CheckpointError if is_file else ValueError, "parameter"):
                self.load_from(saved)
            return
        if is_fresh or not is_same:
            groups = [
                {**group, "params": {name: np.zeros_like(params[name]) for name in group["params"]}}
                for group in built
            ]
            # Those of a file take the place of these.
            other = {"seed": 99, "skip_nonfinite": True} if is_file else {}
            self.opt = fs.create(self.rule, groups, **{**self.policy, **other})
            self.built = [*built]
        if not is_file:
            for name, param in params.items():
                self.opt.params[name][...] = param
        self.load_from(saved)
        self.model = copy.deepcopy(model)
        if not is_file:
            self.model.frozen = {*self.opt.frozen}
        assert self.opt.frozen == self.model.frozen

    def load_from(self, saved):
        return (self.opt.load if isinstance(saved, Path) else self.opt.load_state_dict)(saved)

    @precondition(lambda self: self.policy["ema_decay"])
    @rule()
    def swap_averages_in(self):
        with self.opt.ema.swapped_in():
            for name, average in self.model.ema.items():
                if self.opt.params[name].dtype == average.dtype:
                    assert same_bits(self.opt.params[name], average)

    # After each call -----------------------------------------------------------------------------

    @invariant()
    def equals_the_reference(self):
        assert self.opt.step_count == self.model.step_count
        assert_equal(self.opt, self.model.runs)
        for name, run in self.model.runs.items():
            assert self.opt.state[name]["step"] == run.t
            if self.policy["ema_decay"]:
                assert same_bits(self.opt.ema[name], self.model.ema[name])


def assert_result(result, expected):
    applied, norm = expected
    assert result.applied == applied
    assert (result.grad_norm is None) == (norm is None)
    assert norm is None or same_bits(np.float64(result.grad_norm), np.float64(norm))


def follow(sequences, calls):
    run_state_machine_as_test(
        Sequences,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=calls,
            suppress_health_check=[*HealthCheck],
        ),
    )


@pytest.mark.exhaustive  # 30 s
def test_any_sequence():
    follow(200, 40)


@pytest.mark.long  # a quarter of an hour and more
@pytest.mark.parametrize(("sequences", "calls"), [(10_000, 12), (1_000, 40)])
def test_many_sequences(sequences, calls):
    follow(sequences, calls)
