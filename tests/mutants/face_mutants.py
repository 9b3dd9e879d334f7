"""Mistakes in Python: options, schedules, what is saved, data."""

from mutant import Mutant

COUNTERS = ("tests/saving/test_counters.py", "-k", "resumed")
SCHEDULES = ("tests/options/test_schedules.py",)
ALL_CASES = ("tests/exact/test_exact.py", "-m", "not long")
OPTIONS = ("tests/options/test_bad_options.py", "-k", "bad_values")
BATCHES = ("tests/api/test_minibatches.py",)
STANDARDIZER = ("tests/api/test_standardizer.py",)
SAVED = ("tests/saving/test_bad_saved_states.py",)


def face(name, file, right, wrong, tests):
    return Mutant(name, f"python/fusedstep/{file}", right, wrong, tests)


MUTANTS = [
    face(
        *("counter-not-saved", "_engine.py"),
        'name: {"step": step, **{array',
        'name: {"step": 0, **{array',
        COUNTERS,
    ),
    face(
        *("state-not-saved", "_engine.py"),
        "**{array: next(arrays) for array in buffers}",
        "**{array: next(arrays) * 0 for array in buffers}",
        COUNTERS,
    ),
    face(
        *("state-saved-without-a-copy", "_snapshot.py"),
        'np.array(v, order="K") if key != "step" else v',
        "v",
        COUNTERS,
    ),
    face(
        *("one-counter-loaded-for-all", "_engine.py"),
        '[int(state[name]["step"]) for name in self.tree.names],',
        "[step_count for name in self.tree.names],",
        ("tests/saving/test_counters.py", "-k", "are_exact"),
    ),
    face(
        *("replaced-arrays-not-noticed", "_engine.py"),
        "if self._until_check < 0:",
        "if self._until_check < -9:",
        ("tests/arrays/test_changed_arrays.py", "-k", "replaced"),
    ),
    face(
        *("schedule-read-one-step-late", "_group.py"),
        "step = core.step_count\n",
        "step = max(core.step_count - 1, 0)\n",
        ("tests/api/test_face.py", "-k", "number_or_a_schedule"),
    ),
    face(
        *("one-schedule-for-all-groups", "_group.py"),
        'if group._values["lr"] is not latest:',
        "if latest is None:",
        ("tests/options/test_rates.py",),
    ),
    face(
        *("schedule-stays-where-a-rate-is-set", "_group.py"),
        '(group, "has_schedule", False),',
        '(group, "has_schedule", True),',
        ("tests/options/test_rates.py",),
    ),
    face(
        *("storage-changed-after-construction", "_group.py"),
        "if values[name] != self._values[name]:",
        "if False:",
        ("tests/options/test_state_dtypes.py",),
    ),
    face(
        *("decay-both-coupled-and-decoupled", "_rule.py"),
        'coupled_weight_decay=0.0 if own else numbers["weight_decay"],',
        'coupled_weight_decay=numbers["weight_decay"],',
        ("tests/exact/test_exact.py", "-k", "every_length and adamw"),
    ),
    face(
        *("decay-neither-coupled-nor-decoupled", "_rule.py"),
        'own = "weight_decay" in self.info.scalars and values.get("decoupled_weight_decay", True)',
        'own = "weight_decay" in self.info.scalars',
        (*ALL_CASES, "-k", "every_length and [nadam- and float32"),
    ),
    face(
        *("unknown-options-ignored", "_setup.py"),
        "rule.refuse_unknown(given, {**rule.defaults, **vars(Policy())})",
        "given = {name: given[name] for name in given if name in {**rule.defaults, **vars(Policy())}}",
        ("tests/options/test_bad_options.py", "-k", "does_not_have"),
    ),
    face(
        *("seed-ignored", "_pipeline.py"),
        "self.ema_decay or 0.0, self.seed",
        "self.ema_decay or 0.0, 0",
        ("tests/formats/test_exact.py", "tests/saving/test_narrow_states.py", "-k", "seed"),
    ),
    face(
        *("average-starts-at-0", "_setup.py"),
        "[_formats.AVERAGE] * has_copies",
        "[_formats.AVERAGE] * 0",
        ("tests/exact/test_averages_and_copies.py",),
    ),
    face(
        *("counters-of-lent-state-ignored", "_setup.py"),
        "if has_counters:\n            engine.core.set_counters(None, counters)",
        "",
        ("tests/saving/test_lent_state.py",),
    ),
    face(
        *("average-corrected-one-update-late", "ema.py"),
        "divisor = 1.0 - decay**t if t > 0 else 1.0",
        "divisor = 1.0 - decay ** (t + 1) if t > 0 else 1.0",
        ("tests/spec/test_textbook.py", "-k", "lecture_moving_average"),
    ),
    face(
        *("functions-count-from-0", "_function.py"),
        'as_integer("step", number, 1, MAX_STEP) - 1',
        'as_integer("step", number, 1, MAX_STEP)',
        ("tests/exact/test_exact.py", "-k", "functional and adam"),
    ),
    face(
        *("mean-by-the-number-of-sets", "_steps.py"),
        "divisor = sum(numbers) if mean else 1.0",
        "divisor = float(len(numbers)) if mean else 1.0",
        ("tests/exact/test_exact.py", "-k", "gradient_sets and adam"),
    ),
    face(
        *("scale-ignored-beside-zero-grads", "_steps.py"),
        "result = engine.core.step(flat, scale, zero)",
        "result = engine.core.step(flat, 1.0, zero)",
        ("tests/exact/test_whole_step.py",),
    ),
    face(
        *("one-step-goes-on", "optimizer.py"),
        "finally:\n            self._steps = steps",
        "finally:\n            pass",
        ("tests/exact/test_one_step.py",),
    ),
    face(
        *("gradients-by-position", "_tree.py"),
        "return [tree[name] for name in self.names]",
        "return [*tree.values()]",
        ("tests/exact/test_structure.py", "tests/arrays/test_bad_structures.py"),
    ),
    face(
        *("mask-turned-round", "_decay_mask.py"),
        "if i not in chosen}",
        "if i in chosen}",
        ("tests/options/test_decay_mask.py",),
    ),
    face(
        *("beta-of-1", "_options.py"),
        "self.low <= number < self.high",
        "self.low <= number <= self.high",
        OPTIONS,
    ),
    face(
        *("rate-of-a-schedule-below-0", "_options.py"),
        "if isinstance(rate, float) and 0.0 <= rate < math.inf:",
        "if isinstance(rate, float) and rate < math.inf:",
        ("tests/options/test_bad_schedules.py", "-k", "negative"),
    ),
    face(
        *("integer-as-flag", "_checks.py"),
        "if not isinstance(value, (bool, np.bool_)):",
        "if not isinstance(value, (bool, np.bool_, int)):",
        OPTIONS,
    ),
    face(
        *("small-state-of-8-bits", "_formats.py"),
        'size < values["min_8bit_size"]:',
        'size <= values["min_8bit_size"]:',
        (
            "tests/options/test_state_dtypes.py",
            "tests/formats/test_exact.py",
            "-k",
            "small or min_8bit",
        ),
    ),
    face(
        *("state-of-another-rule-loaded", "_snapshot.py"),
        "if _differs(self.rule, expected.rule):",
        "if False:",
        SAVED,
    ),
    face(
        *("state-of-another-dtype-loaded", "_snapshot.py"),
        "elif value.dtype != kind.dtype:",
        "elif False:",
        SAVED,
    ),
    face(
        *("surplus-state-loaded", "_snapshot.py"),
        'found += [f"{target} {shown(name)}: unexpected" for name in saved if name not in names]',
        "",
        SAVED,
    ),
    face(
        *("state-of-a-newer-format-loaded", "_snapshot.py"),
        "if _differs(self.format, FORMAT):",
        "if False:",
        SAVED,
    ),
    face(
        *("warm-up-not-subtracted", "schedules/decays.py"),
        "(step - self.warmup_steps) / (self.total_steps - self.warmup_steps)",
        "step / self.total_steps",
        SCHEDULES,
    ),
    face(
        *("joined-schedule-counts-on", "schedules/joined.py"),
        "self.schedules[i], step - start)",
        "self.schedules[i], step)",
        SCHEDULES,
    ),
    face(
        *("drop-one-step-late", "schedules/steps.py"),
        "bisect_right(self.milestones, step)",
        "bisect_right(self.milestones, step - 1)",
        SCHEDULES,
    ),
    face(
        *("patience-one-metric-short", "schedules/plateau.py"),
        "reduced = num_bad > self.patience",
        "reduced = num_bad >= self.patience",
        ("tests/options/test_plateau.py",),
    ),
    face(
        *("cycle-peaks-one-step-late", "schedules/cycles.py"),
        "peak = self.pct_start * self.total_steps - 1",
        "peak = self.pct_start * self.total_steps",
        ("tests/options/test_schedules_elsewhere.py", "-k", "peak or torch"),
    ),
    face(
        *("every-epoch-in-the-same-order", "data/batches.py"),
        "spawn_key=(epoch,)",
        "spawn_key=()",
        BATCHES,
    ),
    face(
        *("batch-repeated-after-a-resume", "data/batches.py"),
        "self._begin_at(_Place(epoch, batch))",
        "self._begin_at(_Place(epoch, max(batch - 1, 0)))",
        BATCHES,
    ),
    face(
        *("last-batch-always-dropped", "data/batches.py"),
        "(rest > 0 and not self._drop_last)",
        "0",
        BATCHES,
    ),
    face(
        *("variance-of-a-sample", "data/_moments.py"),
        "return self.m2 / self.n / self.unit / self.unit",
        "return self.m2 / max(self.n - 1, 1) / self.unit / self.unit",
        STANDARDIZER,
    ),
    face(
        *("means-of-parts-forgotten", "data/_moments.py"),
        "m2=self.m2 + m2 + delta**2 * (self.n * n / total),",
        "m2=self.m2 + m2,",
        STANDARDIZER,
    ),
]
