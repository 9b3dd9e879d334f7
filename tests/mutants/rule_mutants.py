"""Mistakes in the rules: at least one in each."""

from mutant import Mutant


def of_rule(rule, what, file, right, wrong, tests=None):
    exact = ("tests/exact/test_exact.py", "-k", f"every_length and [{rule}-")
    return Mutant(f"{rule}-{what}", f"cpp/rules/{file}.hpp", right, wrong, tests or exact)


def textbook(rule):
    """Runs of more steps, some from large counts."""
    return ("tests/spec/test_textbook.py", "-k", f"test_textbook and [{rule}-")


MUTANTS = [
    of_rule(
        *("sgd", "dampening-at-the-first-step", "sgd"),
        "weight(T(t == 1 ? 1.0 : 1.0 - s.dampening))",
        "weight(T(1.0 - s.dampening))",
    ),
    of_rule(
        *("sgd", "nesterov-forgotten", "sgd"),
        "d = kNesterov ? g + momentum * momentum_buffer : momentum_buffer;",
        "d = momentum_buffer;",
    ),
    of_rule(
        *("momentum", "gradient-not-weighted", "sgd"),
        "momentum_buffer = beta * momentum_buffer + weight * g;",
        "momentum_buffer = beta * momentum_buffer + g;",
    ),
    of_rule(
        *("adagrad", "rate-decays-one-step-early", "adagrad"),
        "double(t - 1) * s.lr_decay",
        "double(t) * s.lr_decay",
    ),
    of_rule(
        *("rowwiseadagrad", "sum-of-the-last-gradient", "adagrad"),
        "sum = sum + T(mean_square);",
        "sum = T(mean_square);",
    ),
    of_rule(
        *("rmsprop", "variance-below-zero", "adagrad"),
        "variance = maximum(square_avg - grad_avg * grad_avg, T(0));",
        "variance = square_avg - grad_avg * grad_avg;",
        ("tests/exact/test_exact.py", "-k", "centered_variance"),
    ),
    of_rule(
        *("rmsprop", "rate-within-the-momentum", "adagrad"),
        "momentum_buffer = momentum * momentum_buffer + g / root;\n      p = p - lr * momentum_buffer;",
        "momentum_buffer = momentum * momentum_buffer + lr * g / root;\n      p = p - momentum_buffer;",
    ),
    of_rule(
        *("adadelta", "eps-out-of-the-roots", "adagrad"),
        "square_root((acc_delta + eps) / (square_avg + eps)) * g",
        "(square_root(acc_delta) + eps) / (square_root(square_avg) + eps) * g",
    ),
    of_rule(
        *("adam", "bias-correction-one-step-late", "adam"),
        "correction1 = 1.0 - power(s.beta1, t);",
        "correction1 = 1.0 - power(s.beta1, t + 1);",
    ),
    of_rule(
        *("adam", "second-bias-correction-dropped", "adam"),
        "correction2 = 1.0 - power(s.beta2, t);",
        "correction2 = 1.0;",
    ),
    of_rule(
        *("adam", "eps-not-corrected", "adam"),
        "eps = T(s.eps * (kEpsInside ? correction2 : square_root(correction2)));",
        "eps = T(s.eps);",
    ),
    of_rule(
        *("adam", "amsgrad-keeps-the-latest", "adam"),
        "second = max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq);",
        "second = maximum(max_exp_avg_sq, exp_avg_sq), max_exp_avg_sq = exp_avg_sq;",
    ),
    of_rule(
        *("adam", "amsgrad-of-the-step-before", "adam"),
        "second = max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq);",
        "second = max_exp_avg_sq, max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq);",
    ),
    of_rule(
        *("adam", "eps-out-of-the-root", "rule"),
        "return square_root(v + eps);",
        "return square_root(v) + eps;",
    ),
    of_rule(
        *("adam", "eps-into-the-root", "rule"),
        "return square_root(v) + eps;",
        "return square_root(v + eps);",
    ),
    of_rule(
        *("adamw", "coupled-for-decoupled", "adam"),
        "p = p * shrink;\n    Adam<T, Flags>::operator()(p, g,",
        "Adam<T, Flags>::operator()(p, g + (T(1) - shrink) * p,",
    ),
    of_rule(
        *("adamw", "decay-without-the-rate", "adam"),
        "shrink(T(1.0 - s.lr * s.weight_decay)) {}\n",
        "shrink(T(1.0 - s.weight_decay)) {}\n",
    ),
    of_rule(
        *("adamw", "decay-dropped", "adam"),
        "p = p * shrink;\n    Adam<T, Flags>::operator()",
        "Adam<T, Flags>::operator()",
    ),
    of_rule(
        *("adamax", "eps-out-of-the-maximum", "adam"),
        "maximum(beta2 * exp_inf, absolute(g) + eps);",
        "maximum(beta2 * exp_inf, absolute(g)) + eps;",
    ),
    of_rule(
        *("nadam", "next-momentum-is-the-present", "adam"),
        "nadam_momentum(s.beta1, s.momentum_decay, double(t) + 1.0);",
        "nadam_momentum(s.beta1, s.momentum_decay, double(t));",
    ),
    of_rule(
        *("nadam", "rest-of-the-product-dropped", "adam"),
        "return product * power(beta1, t);",
        "return product;",
        ("tests/exact/test_exact.py", "-k", "no_longer_rises"),
    ),
    of_rule(
        *("radam", "rectified-one-step-early", "adam"),
        "step_size = T(length > 5.0 ?",
        "step_size = T(length > 4.0 ?",
        textbook("radam"),
    ),
    of_rule(
        *("radam", "never-divides", "adam"),
        "rectified = T(length > 5.0 ? 1.0 : 0.0);",
        "rectified = T(0);",
        textbook("radam"),
    ),
    of_rule(
        *("adabelief", "decay-dropped", "belief"),
        "p = p * shrink;\n",
        "",
    ),
    of_rule(
        *("adabelief", "eps-not-within-the-average", "belief"),
        "weight2 * (surprise * surprise) + added;",
        "weight2 * (surprise * surprise);",
    ),
    of_rule(
        *("yogi", "second-moment-is-adams", "belief"),
        "weight2 * sign(exp_avg_sq - square) * square;",
        "weight2 * (exp_avg_sq - square);",
    ),
    of_rule(
        *("adan", "difference-at-the-first-step", "mixture"),
        "const T diff = started != T(0) ? g - pre_grad : T(0);",
        "const T diff = g - pre_grad;",
    ),
    of_rule(
        *("adan", "decay-before-the-step", "mixture"),
        "p = (p - step) * shrink;",
        "p = p * shrink - step;",
    ),
    of_rule(
        *("ademamix", "slow-average-without-warm-up", "mixture"),
        "slow_size = T(s.lr * root2 * (part * s.alpha));",
        "slow_size = T(s.lr * root2 * s.alpha);",
    ),
    of_rule(
        *("lion", "stored-before-the-sign", "sign"),
        "p = p * shrink - lr * sign(beta1 * exp_avg + weight1 * g);\n    exp_avg = beta2 * exp_avg + weight2 * g;",
        "exp_avg = beta2 * exp_avg + weight2 * g;\n    p = p * shrink - lr * sign(beta1 * exp_avg + weight1 * g);",
    ),
    of_rule(
        *("rprop", "gradient-kept-where-its-sign-changes", "sign"),
        "prev = agreement < T(0) ? T(0) : g;",
        "prev = g;",
    ),
    of_rule(
        *("asgd", "decays-by-the-first-rate", "averaging"),
        "shrink = T(1.0 - s.lambd * rate);",
        "shrink = T(1.0 - s.lambd * s.lr);",
    ),
    of_rule(
        *("asgd", "average-begins-one-step-early", "averaging"),
        "mu = T(1.0 / maximum(before - s.t0, 1.0));",
        "mu = T(1.0 / maximum(double(t) - s.t0, 1.0));",
    ),
    of_rule(
        *("schedulefreeadamw", "warm-up-from-0", "averaging"),
        "s.lr * (double(t) / s.warmup_steps)",
        "s.lr * (double(t - 1) / s.warmup_steps)",
    ),
    of_rule(
        *("schedulefreeadamw", "average-of-the-new-iterate", "averaging"),
        "p = p + towards * (z - p) - pull * step;\n    z = z - lr * step;",
        "z = z - lr * step;\n    p = p + towards * (z - p) - pull * step;",
    ),
    of_rule(
        *("lamb", "zeros-never-move", "layerwise"),
        "((numerator > 0.0) & (denominator > 0.0)) ?",
        "denominator > 0.0 ?",
        ("tests/exact/test_exact.py", "-k", "ratio_of_norms"),
    ),
    of_rule(
        *("lamb", "decay-dropped", "layerwise"),
        "(square_root(exp_avg_sq) + eps) + weight_decay * p;",
        "(square_root(exp_avg_sq) + eps);",
    ),
    of_rule(
        *("lars", "ratio-without-the-decay", "layerwise"),
        "norm + given.weight_decay * param_norm));",
        "norm));",
    ),
    of_rule(
        *("ema", "complement-of-the-rounded-decay", "ema"),
        "weight(T(1.0 - s.decay))",
        "weight(T(1) - T(s.decay))",
        ("tests/exact/test_exact.py", "-k", "test_moving_average"),
    ),
]
