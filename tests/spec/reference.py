"""The specification: each rule in a few lines of NumPy.

REFERENCE says what the kernels compute to the last bit: the order of operations, all of them in the
dtype ``f`` of the parameter, with scalars computed in double and rounded once. What the rule is, in
the words of its source, stands in textbook.py.

A rule takes a parameter, the gradient that the rule sees, the state (a dict, replaced in place), the
options ``o`` and the number ``t`` of this update, from 1, and returns the new parameter. What it reads
of a state that it has replaced is what was stored, which may be in fewer bits (narrow.py).
"""

import math
from types import SimpleNamespace

import numpy as np

from cases import ROWWISE
from fusedstep._definition import registry
from reductions import tree_sum, tree_sums
from scalars import exponential, natural_log, power, power_sum, real_power


def maximum(a, b):
    return np.where((a > b) | np.isnan(a), a, b)


def sign(x):
    f = x.dtype.type
    return np.where(x > 0, f(1), np.where(x < 0, f(-1), x))


def root(v, eps, inside):
    return np.sqrt(v + eps) if inside else np.sqrt(v) + eps


def sgd(p, g, s, o, t):
    f = p.dtype.type
    if o.momentum:
        keep, weight = (0.0, 1.0) if t == 1 else (o.momentum, 1.0 - o.dampening)
        s["momentum_buffer"] = b = f(keep) * s["momentum_buffer"] + f(weight) * g
        g = g + f(o.momentum) * b if o.nesterov else b
    return p - f(o.lr) * g


def momentum(p, g, s, o, t):
    f = p.dtype.type
    s["momentum_buffer"] = b = f(o.beta) * s["momentum_buffer"] + f(1.0 - o.beta) * g
    return p - f(o.lr) * b


def adagrad(p, g, s, o, t):
    f = p.dtype.type
    s["sum"] = v = s["sum"] + g * g
    lr = f(o.lr / (1.0 + float(t - 1) * o.lr_decay))
    return p - lr * g / root(v, f(o.eps), o.eps_inside_sqrt)


def rows_of(x):
    """The rows of an array, flat; without axes it is one row."""
    count = len(x) if x.ndim else 1
    return x.reshape(count, x.size // max(count, 1))


def rowwiseadagrad(p, g, s, o, t):
    f, rows = p.dtype.type, rows_of(g)
    if g.size:
        squares = tree_sums(rows.astype(np.float64) ** 2)
        s["sum"] = s["sum"] + (squares / rows.shape[1]).astype(p.dtype)
    lr = f(o.lr / (1.0 + float(t - 1) * o.lr_decay))
    step = lr * rows / root(s["sum"], f(o.eps), o.eps_inside_sqrt)[:, None]
    return p - step.reshape(p.shape)


def rmsprop(p, g, s, o, t):
    f = p.dtype.type
    alpha, weight = f(o.alpha), f(1.0 - o.alpha)
    s["square_avg"] = v = alpha * s["square_avg"] + weight * (g * g)
    if o.centered:
        s["grad_avg"] = a = alpha * s["grad_avg"] + weight * g
        v = maximum(v - a * a, f(0))
    d = root(v, f(o.eps), o.eps_inside_sqrt)
    if not o.momentum:
        return p - f(o.lr) * g / d
    s["momentum_buffer"] = b = f(o.momentum) * s["momentum_buffer"] + g / d
    return p - f(o.lr) * b


def adam(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    s["exp_avg_sq"] = v = f(beta2) * s["exp_avg_sq"] + f(1.0 - beta2) * (g * g)
    if o.amsgrad:
        s["max_exp_avg_sq"] = v = maximum(s["max_exp_avg_sq"], v)
    c1, c2 = 1.0 - power(beta1, t), 1.0 - power(beta2, t)
    eps = f(o.eps * (c2 if o.eps_inside_sqrt else np.sqrt(c2)))
    return p - f(o.lr * np.sqrt(c2) / c1) * m / root(v, eps, o.eps_inside_sqrt)


def adamw(p, g, s, o, t):
    return adam(p * p.dtype.type(1.0 - o.lr * o.weight_decay), g, s, o, t)


def adamax(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    s["exp_inf"] = u = maximum(f(beta2) * s["exp_inf"], np.abs(g) + f(o.eps))
    return p - f(o.lr / (1.0 - power(beta1, t))) * m / u


def adadelta(p, g, s, o, t):
    f = p.dtype.type
    rho, weight, eps = f(o.rho), f(1.0 - o.rho), f(o.eps)
    s["square_avg"] = v = rho * s["square_avg"] + weight * (g * g)
    d = np.sqrt((s["acc_delta"] + eps) / (v + eps)) * g
    s["acc_delta"] = rho * s["acc_delta"] + weight * (d * d)
    return p - f(o.lr) * d


def nadam_momentum(beta1, decay, t):
    return beta1 * (1.0 - 0.5 * real_power(0.96, t * decay))


def nadam_product(beta1, momentum_decay, t):
    ratio, decay, product = real_power(0.96, momentum_decay), 1.0, 1.0
    while t > 0 and product > 2.0**-60 and decay > 2.0**-60:
        decay = decay * ratio
        product = product * (beta1 * (1.0 - 0.5 * decay))
        t -= 1
    return product * power(beta1, t)


def nadam(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    p = p * f(1.0 - o.lr * o.weight_decay) if o.decoupled_weight_decay else p
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    s["exp_avg_sq"] = v = f(beta2) * s["exp_avg_sq"] + f(1.0 - beta2) * (g * g)
    mu = nadam_momentum(beta1, o.momentum_decay, float(t))
    following = nadam_momentum(beta1, o.momentum_decay, float(t) + 1.0)
    product = nadam_product(beta1, o.momentum_decay, t)
    root2 = np.sqrt(1.0 - power(beta2, t))
    grad_size = f(o.lr * root2 * (1.0 - mu) / (1.0 - product))
    step_size = f(o.lr * root2 * following / (1.0 - product * following))
    return p - (grad_size * g + step_size * m) / (np.sqrt(v) + f(o.eps * root2))


def radam(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    p = p * f(1.0 - o.lr * o.weight_decay) if o.decoupled_weight_decay else p
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    s["exp_avg_sq"] = v = f(beta2) * s["exp_avg_sq"] + f(1.0 - beta2) * (g * g)
    power2, sum2, size = power(beta2, t), power_sum(beta2, t), o.lr / (1.0 - power(beta1, t))
    longest = 2.0 / (1.0 - beta2) - 1.0
    length = ((1.0 + beta2) * sum2 - 2.0 * float(t) * power2) / ((1.0 - beta2) * sum2)
    if not length > 5.0:
        return p - f(size) * m
    rectification = (length - 4.0) * (length - 2.0) * longest
    rectification /= (longest - 4.0) * (longest - 2.0) * length
    return p - f(size * np.sqrt(rectification * (1.0 - power2))) * m / (np.sqrt(v) + f(o.eps))


def adabelief(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    d = g - m
    s["exp_avg_var"] = v = f(beta2) * s["exp_avg_var"] + f(1.0 - beta2) * (d * d) + f(o.eps)
    root2 = np.sqrt(1.0 - power(beta2, t))
    step = f(o.lr * root2 / (1.0 - power(beta1, t))) * m / (np.sqrt(v) + f(o.eps * root2))
    return p * f(1.0 - o.lr * o.weight_decay) - step


def yogi(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    square, v = g * g, s["exp_avg_sq"]
    s["exp_avg_sq"] = v = v - f(1.0 - beta2) * sign(v - square) * square
    root2 = np.sqrt(1.0 - power(beta2, t))
    return p - f(o.lr * root2 / (1.0 - power(beta1, t))) * m / (np.sqrt(v) + f(o.eps * root2))


def adan(p, g, s, o, t):
    f, (beta1, beta2, beta3) = p.dtype.type, o.betas
    d = np.zeros_like(g) if t == 1 else g - s["pre_grad"]
    ahead = g + f(beta2) * d
    s["exp_avg"] = m = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    s["exp_avg_diff"] = w = f(beta2) * s["exp_avg_diff"] + f(1.0 - beta2) * d
    s["exp_avg_sq"] = v = f(beta3) * s["exp_avg_sq"] + f(1.0 - beta3) * (ahead * ahead)
    s["pre_grad"] = g
    root3 = np.sqrt(1.0 - power(beta3, t))
    step_size = f(o.lr * root3 / (1.0 - power(beta1, t)))
    diff_size = f(o.lr * beta2 * root3 / (1.0 - power(beta2, t)))
    step = (step_size * m + diff_size * w) / (np.sqrt(v) + f(o.eps * root3))
    return (p - step) * f(1.0 / (1.0 + o.lr * o.weight_decay))


def ademamix_beta3(beta1, beta3, part):
    logs = np.float64(natural_log(beta1)), np.float64(natural_log(beta3))
    beta = exponential(np.float64(1.0) / ((1.0 - part) / logs[0] + part / logs[1]))
    return beta if part < 1.0 and beta < beta3 else beta3


def ademamix(p, g, s, o, t):
    f, (beta1, beta2, beta3) = p.dtype.type, o.betas
    p = p * f(1.0 - o.lr * o.weight_decay)
    part = float(t) / o.warmup_steps if t < o.warmup_steps else 1.0
    beta3 = ademamix_beta3(beta1, beta3, part)
    s["exp_avg_fast"] = m = f(beta1) * s["exp_avg_fast"] + f(1.0 - beta1) * g
    s["exp_avg_slow"] = n = f(beta3) * s["exp_avg_slow"] + f(1.0 - beta3) * g
    s["exp_avg_sq"] = v = f(beta2) * s["exp_avg_sq"] + f(1.0 - beta2) * (g * g)
    root2 = np.sqrt(1.0 - power(beta2, t))
    fast_size = f(o.lr * root2 / (1.0 - power(beta1, t)))
    slow_size = f(o.lr * root2 * (part * o.alpha))
    return p - (fast_size * m + slow_size * n) / (np.sqrt(v) + f(o.eps * root2))


def lion(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    direction = sign(f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g)
    s["exp_avg"] = f(beta2) * s["exp_avg"] + f(1.0 - beta2) * g
    return p * f(1.0 - o.lr * o.weight_decay) - f(o.lr) * direction


def norm(x):
    return np.sqrt(tree_sum(x.astype(np.float64) ** 2))


def trust_ratio(numerator, denominator):
    return numerator / denominator if numerator > 0 and denominator > 0 else 1.0


def lamb(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    s["exp_avg"] = f(beta1) * s["exp_avg"] + f(1.0 - beta1) * g
    s["exp_avg_sq"] = f(beta2) * s["exp_avg_sq"] + f(1.0 - beta2) * (g * g)
    m, v = s["exp_avg"], s["exp_avg_sq"]  # as they are stored, which may be in fewer bits
    c = np.sqrt(1.0 - power(beta2, t))
    d = f(c / (1.0 - power(beta1, t))) * m / (np.sqrt(v) + f(o.eps * c)) + f(o.weight_decay) * p
    ratio = trust_ratio(norm(p), norm(d)) if o.trust_ratio else 1.0
    return p - f(o.lr * ratio) * d


def lars(p, g, s, o, t):
    f = p.dtype.type
    length = norm(p)
    ratio = trust_ratio(o.trust_coefficient * length, norm(g) + o.weight_decay * length)
    d = f(o.lr * (ratio if o.trust_ratio else 1.0)) * (g + f(o.weight_decay) * p)
    if o.momentum:
        s["momentum_buffer"] = d = f(o.momentum) * s["momentum_buffer"] + d
    return p - d


def rprop(p, g, s, o, t):
    f, (shorter, longer) = p.dtype.type, o.etas
    agreement = sign(g * s["prev"])
    factor = np.where(
        agreement > 0, f(longer), np.where(agreement < 0, f(shorter), agreement + f(1))
    )
    size, (low, high) = s["step_size"] * factor, o.step_sizes
    s["step_size"] = size = np.where(size < f(low), f(low), np.where(size > f(high), f(high), size))
    s["prev"] = g = np.where(agreement < 0, f(0), g)
    return p - sign(g) * size


def asgd(p, g, s, o, t):
    f, before = p.dtype.type, float(t - 1)
    rate = o.lr / real_power(1.0 + o.lambd * o.lr * before, o.alpha)
    mu = f(1.0 / max(before - o.t0, 1.0))
    p = p * f(1.0 - o.lambd * rate) - f(rate) * g
    s["ax"] = s["ax"] + mu * (p - s["ax"]) if mu != 1 else p
    return p


def schedule_free_weight(warmup_steps, t):
    now = float(t)
    if now <= warmup_steps:
        return 6.0 * now / ((now + 1.0) * (2.0 * now + 1.0))
    n, total = float(math.floor(warmup_steps)), 0.0
    if n > 0.0:
        total = n * (n + 1.0) * (2.0 * n + 1.0) / (6.0 * warmup_steps * warmup_steps)
    return 1.0 / (total + (now - n))


def schedulefreeadamw(p, g, s, o, t):
    f, (beta1, beta2) = p.dtype.type, o.betas
    s["exp_avg_sq"] = v = f(beta2) * s["exp_avg_sq"] + f(1.0 - beta2) * (g * g)
    root2 = np.sqrt(1.0 - power(beta2, t))
    lr = o.lr * (float(t) / o.warmup_steps) if t < o.warmup_steps else o.lr
    weight = schedule_free_weight(o.warmup_steps, t)
    d = f(root2) * g / (np.sqrt(v) + f(o.eps * root2)) + f(o.weight_decay) * p
    p = p + f(weight) * (s["z"] - p) - f(lr * (1.0 - beta1 * (1.0 - weight))) * d
    s["z"] = s["z"] - f(lr) * d
    return p


REFERENCE = {name: globals()[name] for name in registry}


def reads(rule, name):
    """Whether a rule's reference uses this name: ``weight_decay``, ``sign``."""
    return name in REFERENCE[rule].__code__.co_names


class Run:
    """One array followed through its steps, by REFERENCE in its dtype or by the TEXTBOOK."""

    def __init__(self, rule, options, param, functions=REFERENCE):
        cls = registry[rule]
        values = cls.definition.check(options)
        self.rule, self.options, self.function = rule, SimpleNamespace(**values), functions[rule]
        self.param, self.t = param.copy(order="K"), 0  # norms are taken in memory's order
        self.variant = sum(bool(values[flag]) << i for i, flag in enumerate(cls.info.flags))
        state = np.zeros(len(rows_of(param)), param.dtype) if rule in ROWWISE else param
        self.state = {name: np.zeros_like(state) for name in cls.info.states[self.variant]}
        for name, value in cls.initial_state(values).items():
            self.state[name] += param.dtype.type(value)
        for name in cls.starts_at_parameter:
            self.state[name] = param.copy()

    def step(self, grad, scale=1.0, clip=1.0):
        """One update; `clip` is the factor that the norm has given."""
        self.t += 1
        o, f = self.options, self.param.dtype.type
        with np.errstate(all="ignore"):
            grad = grad / f(scale) * f(clip)
            if o.max_grad_value is not None:
                limit = f(o.max_grad_value)
                grad = np.where(grad > limit, limit, np.where(grad < -limit, -limit, grad))
            if o.maximize:
                grad = -grad
            own = reads(self.rule, "weight_decay") and getattr(o, "decoupled_weight_decay", True)
            if f(o.weight_decay) and not own:  # one too small for the dtype is none
                grad = grad + f(o.weight_decay) * self.param
            self.param = self.function(self.param, grad, self.state, o, self.t)

    def rows(self, named):
        """The run of some rows alone, which shares nothing with this one."""
        part = object.__new__(type(self))
        vars(part).update(vars(self), param=self.param[named])
        part.state = {name: value[named] for name, value in self.state.items()}
        return part

    def put(self, named, part):
        """Make a step of rows() one of this run."""
        self.param[named] = part.param
        for name, value in part.state.items():
            self.state[name][named] = value
