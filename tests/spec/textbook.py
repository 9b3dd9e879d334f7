"""Each rule in the words of its source, evaluated in longdouble: what the reference approximates.

The functions are called as those of reference.py, and may keep state of their own beside the rule's.
"""

import numpy as np

from fusedstep._definition import registry
from reference import root, rows_of


def sgd(p, g, s, o, t):
    if o.momentum:
        old = s["momentum_buffer"]
        s["momentum_buffer"] = b = g if t == 1 else o.momentum * old + (1 - o.dampening) * g
        g = g + o.momentum * b if o.nesterov else b
    return p - o.lr * g


def momentum(p, g, s, o, t):
    s["momentum_buffer"] = b = o.beta * s["momentum_buffer"] + (1 - o.beta) * g
    return p - o.lr * b


def adagrad(p, g, s, o, t):
    s["sum"] = s["sum"] + g**2
    lr = o.lr / (1 + (t - 1) * o.lr_decay)
    return p - lr / root(s["sum"], o.eps, o.eps_inside_sqrt) * g


def rowwiseadagrad(p, g, s, o, t):
    s["sum"] = s["sum"] + np.mean(rows_of(g) ** 2, axis=1)
    lr = o.lr / (1 + (t - 1) * o.lr_decay)
    step = lr / root(s["sum"], o.eps, o.eps_inside_sqrt)[:, None] * rows_of(g)
    return p - step.reshape(p.shape)


def rmsprop(p, g, s, o, t):
    s["square_avg"] = v = o.alpha * s["square_avg"] + (1 - o.alpha) * g**2
    if o.centered:
        s["grad_avg"] = a = o.alpha * s["grad_avg"] + (1 - o.alpha) * g
        v = np.maximum(v - a**2, 0)
    step = g / root(v, o.eps, o.eps_inside_sqrt)
    if o.momentum:
        s["momentum_buffer"] = step = o.momentum * s["momentum_buffer"] + step
    return p - o.lr * step


def adam(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_avg_sq"] = v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g**2
    if o.amsgrad:
        s["max_exp_avg_sq"] = v = np.maximum(s["max_exp_avg_sq"], v)
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - o.lr * m_hat / root(v_hat, o.eps, o.eps_inside_sqrt)


def adamw(p, g, s, o, t):
    return adam(p - o.lr * o.weight_decay * p, g, s, o, t)


def adamax(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_inf"] = u = np.maximum(beta2 * s["exp_inf"], np.abs(g) + o.eps)
    return p - o.lr / (1 - beta1**t) * m / u


def adadelta(p, g, s, o, t):
    s["square_avg"] = v = o.rho * s["square_avg"] + (1 - o.rho) * g**2
    delta = np.sqrt(s["acc_delta"] + o.eps) / np.sqrt(v + o.eps) * g
    s["acc_delta"] = o.rho * s["acc_delta"] + (1 - o.rho) * delta**2
    return p - o.lr * delta


def adan(p, g, s, o, t):
    beta1, beta2, beta3 = (np.longdouble(b) for b in o.betas)
    diff = 0 if t == 1 else g - s["pre_grad"]
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_avg_diff"] = w = beta2 * s["exp_avg_diff"] + (1 - beta2) * diff
    s["exp_avg_sq"] = v = beta3 * s["exp_avg_sq"] + (1 - beta3) * (g + beta2 * diff) ** 2
    s["pre_grad"] = g
    ahead = m / (1 - beta1**t) + beta2 * w / (1 - beta2**t)
    p = p - o.lr * ahead / (np.sqrt(v / (1 - beta3**t)) + o.eps)
    return p / (1 + o.lr * o.weight_decay)


def ademamix(p, g, s, o, t):
    beta1, beta2, beta3 = (np.longdouble(b) for b in o.betas)
    alpha, warmup = o.alpha, np.longdouble(o.warmup_steps)
    if t < warmup:
        alpha, log1, log3 = t / warmup * alpha, np.log(beta1), np.log(beta3)
        ramp = np.exp(log1 * log3 / ((1 - t / warmup) * log3 + t / warmup * log1))
        beta3 = min(ramp, beta3)
    s["exp_avg_fast"] = m1 = beta1 * s["exp_avg_fast"] + (1 - beta1) * g
    s["exp_avg_slow"] = m2 = beta3 * s["exp_avg_slow"] + (1 - beta3) * g
    s["exp_avg_sq"] = v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g**2
    m1_hat, v_hat = m1 / (1 - beta1**t), v / (1 - beta2**t)
    update = (m1_hat + alpha * m2) / (np.sqrt(v_hat) + o.eps)
    return p - o.lr * (update + o.weight_decay * p)


def lion(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    update = np.sign(beta1 * s["exp_avg"] + (1 - beta1) * g) + o.weight_decay * p
    s["exp_avg"] = beta2 * s["exp_avg"] + (1 - beta2) * g
    return p - o.lr * update


def nadam(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    mu = [beta1 * (1 - 0.96 ** np.longdouble(i * o.momentum_decay) / 2) for i in range(1, t + 2)]
    product, following = np.prod(mu[:-1]), mu[-1]
    p = p - o.lr * o.weight_decay * p if o.decoupled_weight_decay else p
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_avg_sq"] = v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g**2
    ahead = following * m / (1 - product * following) + (1 - mu[-2]) * g / (1 - product)
    return p - o.lr * ahead / (np.sqrt(v / (1 - beta2**t)) + o.eps)


def radam(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    p = p - o.lr * o.weight_decay * p if o.decoupled_weight_decay else p
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_avg_sq"] = v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g**2
    m_hat = m / (1 - beta1**t)
    rho_inf = 2 / (1 - beta2) - 1
    rho = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
    if rho <= 5:
        return p - o.lr * m_hat
    r = np.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
    return p - o.lr * r * m_hat * np.sqrt(1 - beta2**t) / (np.sqrt(v) + o.eps)


def adabelief(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_avg_var"] = v = beta2 * s["exp_avg_var"] + (1 - beta2) * (g - m) ** 2 + o.eps
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - o.lr * (m_hat / (np.sqrt(v_hat) + o.eps) + o.weight_decay * p)


def yogi(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    v = s["exp_avg_sq"]
    s["exp_avg_sq"] = v = v - (1 - beta2) * np.sign(v - g**2) * g**2
    m_hat, v_hat = m / (1 - beta1**t), v / (1 - beta2**t)
    return p - o.lr * m_hat / (np.sqrt(v_hat) + o.eps)


def length(x):
    return np.sqrt(np.sum(x**2))


def lamb(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    s["exp_avg"] = m = beta1 * s["exp_avg"] + (1 - beta1) * g
    s["exp_avg_sq"] = v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g**2
    d = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + o.eps) + o.weight_decay * p
    return p - o.lr * (length(p) / length(d) if o.trust_ratio else 1) * d


def lars(p, g, s, o, t):
    r = o.trust_coefficient * length(p) / (length(g) + o.weight_decay * length(p))
    d = o.lr * (r if o.trust_ratio else 1) * (g + o.weight_decay * p)
    if o.momentum:
        s["momentum_buffer"] = d = o.momentum * s["momentum_buffer"] + d
    return p - d


def rprop(p, g, s, o, t):
    product = g * s["prev"]
    factor = np.select([product > 0, product < 0], [o.etas[1], o.etas[0]], 1)
    s["step_size"] = length = np.clip(s["step_size"] * factor, *o.step_sizes)
    s["prev"] = g = np.where(product < 0, 0, g)
    return p - np.sign(g) * length


def asgd(p, g, s, o, t):
    eta = o.lr / (1 + o.lambd * o.lr * np.longdouble(t - 1)) ** o.alpha
    p = p - eta * (g + o.lambd * p)
    s["ax"] = s["ax"] + (p - s["ax"]) / max(1, t - 1 - o.t0)
    return p


def schedulefreeadamw(p, g, s, o, t):
    beta1, beta2 = (np.longdouble(b) for b in o.betas)
    y, x = p, s.get("x", p)
    rates = np.arange(1, t + 1, dtype=np.longdouble)
    rates = o.lr * np.minimum(1, rates / max(o.warmup_steps, 1))
    s["exp_avg_sq"] = v = beta2 * s["exp_avg_sq"] + (1 - beta2) * g**2
    update = g / (np.sqrt(v / (1 - beta2**t)) + o.eps) + o.weight_decay * y
    s["z"] = z = s["z"] - rates[-1] * update
    c = rates[-1] ** 2 / np.sum(rates**2)
    s["x"] = x = (1 - c) * x + c * z
    return (1 - beta1) * z + beta1 * x


TEXTBOOK = {name: globals()[name] for name in registry}
