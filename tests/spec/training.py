"""A whole training as the reference makes it: groups, averages, counters, frozen parameters."""

import numpy as np

from narrow import NarrowRun, decoded
from reductions import clip_factor, norm_of, squares
from row_steps import gathered, row_squares
from whole_step import combine


class Training:
    """What becomes of the parameters of an optimizer, call by call."""

    def __init__(self, rule, ema_decay=None, is_skipping=False, clip_per_group=False):
        self.rule, self.ema_decay = rule, ema_decay
        self.is_skipping, self.clip_per_group = is_skipping, clip_per_group
        self.runs, self.groups, self.ema = {}, [], {}
        self.frozen, self.step_count = set(), 0

    def add_group(self, params, options, storage):
        for name, param in params.items():
            run = NarrowRun(self.rule, options, param, len(self.runs), **storage)
            self.runs[name], self.ema[name] = run, run.param.copy()
        self.groups.append([*params])

    def set_options(self, group, changes):
        for name in self.groups[group]:
            vars(self.runs[name].options).update(changes)

    def step(self, grads, scale=1.0):
        """Whether the step was applied, and the norm of its gradients, None where nobody needs it."""
        grads = {name: None if grad is None else decoded(grad) for name, grad in grads.items()}
        grads = {n: None if n in self.frozen else grads.get(n) for n in self.runs}
        norm, clip = self.clips(dict(zip(grads, squares(grads.values(), scale), strict=True)))
        if self.is_skipped(grads.values(), scale):
            return False, norm
        self.step_count += 1
        for name, grad in grads.items():
            if grad is not None:
                self.runs[name].step(grad, scale, clip[name])
                self.average(name)
        return True, norm

    def step_mean(self, sets, weights, scale=1.0):
        names = [name for name, grad in sets[0].items() if grad is not None]
        divisor = float(sum(weights))
        means = {name: combine([one[name] for one in sets], weights, divisor) for name in names}
        return self.step(means, scale)

    def step_rows(self, table, indices, rows, scale=1.0):
        if table in self.frozen:
            return True, None
        named, grads = gathered(indices, rows)
        norm, clip = self.clips({table: 0.0}, row_squares(indices, rows, scale))
        if self.is_skipped([grads], scale):
            return False, norm
        run = self.runs[table]
        part = run.rows(named)
        part.step(grads, scale, clip[table])
        run.put(named, part)
        run.t += 1
        self.average(table, named)
        return True, norm

    def is_skipped(self, grads, scale):
        finite = all(np.isfinite(g / g.dtype.type(scale)).all() for g in grads if g is not None)
        return self.is_skipping and not finite

    def clips(self, sums, more=()):
        """The norm of a step, and the factor that each parameter's gradient is multiplied by."""
        limits = {name: run.options.max_grad_norm for name, run in self.runs.items()}
        norm = norm_of([*sums.values(), *more])
        clip = dict.fromkeys(sums, 1.0)
        for group in self.groups:
            own = norm
            if self.clip_per_group:
                own = norm_of([*(sums[n] if n in group else 0.0 for n in sums), *more])
            for name in {*group} & {*sums}:
                clip[name] = 1.0 if limits[name] is None else clip_factor(limits[name], own)
        is_needed = self.is_skipping or any(limit is not None for limit in limits.values())
        return norm if is_needed else None, clip

    def average(self, name, named=...):
        if self.ema_decay is None or self.runs[name].param.size == 0:
            return
        param, f = self.runs[name].param, self.runs[name].param.dtype.type
        with np.errstate(all="ignore"):
            value = f(self.ema_decay) * self.ema[name][named]
            self.ema[name][named] = value + f(1.0 - self.ema_decay) * param[named]
