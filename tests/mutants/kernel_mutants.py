"""Mistakes in the arithmetic, the kernels and the formats."""

from mutant import Mutant

EXACT = ("tests/exact/test_exact.py", "-k", "every_length and ([adam- or [sgd-)")
WHOLE = ("tests/exact/test_whole_step.py",)
NORM = ("tests/exact/test_norm.py",)
ROWS = ("tests/exact/test_rows.py",)
NARROW = ("tests/formats/test_exact.py",)


def numeric(name, file, right, wrong, tests=EXACT):
    return Mutant(name, f"cpp/numeric/{file}", right, wrong, tests)


def kernel(name, file, right, wrong, tests=EXACT):
    return Mutant(name, f"cpp/kernel/{file}", right, wrong, tests)


def format_(name, file, right, wrong, tests=NARROW):
    return Mutant(name, f"cpp/formats/{file}", right, wrong, tests)


ARITHMETIC = [
    numeric(
        *("maximum-loses-nan", "host_device.hpp"),
        "return ((a > b) | (a != a)) ? a : b;",
        "return a > b ? a : b;",
        ("tests/exact/test_exact.py", "-k", "every_length and [adamax-"),
    ),
    numeric(
        *("sign-of-nan-is-0", "host_device.hpp"),
        "x < T(0) ? T(-1) : x;",
        "x < T(0) ? T(-1) : T(0);",
        ("tests/exact/test_exact.py", "-k", "every_length and lion"),
    ),
    numeric(
        *("logarithm-of-fewer-terms", "real_power.hpp"),
        "for (int k = 23; k > 1; k -= 2)",
        "for (int k = 13; k > 1; k -= 2)",
        ("tests/exact/test_exact.py", "-k", "logarithms_of_any_number"),
    ),
    numeric(
        *("norm-of-16-lanes", "reduce.hpp"),
        "constexpr std::size_t kLanes = 32;",
        "constexpr std::size_t kLanes = 16;",
        NORM,
    ),
    numeric(
        *("rounding-mode-of-the-caller", "float_environment.hpp"),
        "if (is_changed_) write(kDefault);",
        "",
        ("tests/exact/test_float_environment.py",),
    ),
    numeric(
        *("rounding-mode-not-restored", "float_environment.hpp"),
        "if (is_changed_) write(saved_);",
        "",
        ("tests/exact/test_float_environment.py",),
    ),
]

KERNELS = [
    kernel(
        *("tail-of-the-loop-skipped", "sweeps.hpp"),
        "for (std::size_t i = 0; i < n; ++i) rule(param[i]",
        "for (std::size_t i = 0; i < n / 4 * 4; ++i) rule(param[i]",
    ),
    kernel(
        *("tail-of-the-codes-skipped", "narrow_arrays.hpp"),
        "  if (i == n) return;\n  Code rest[kWidth];",
        "  if (i <= n) return;\n  Code rest[kWidth];",
        NARROW,
    ),
    kernel(
        *("maximize-ignored", "adjustment.hpp"),
        "sign(T(negate ? -1 : 1)),",
        "sign(T(1)),",
    ),
    kernel(
        *("coupled-decay-dropped", "adjustment.hpp"),
        "const T decayed = g + weight_decay * p;",
        "const T decayed = g;",
    ),
    kernel(
        *("coupled-decay-before-the-sign", "adjustment.hpp"),
        "const T decayed = g + weight_decay * p;",
        "const T decayed = g + sign * weight_decay * p;",
    ),
    kernel(
        *("decay-of-0-spreads-nan", "adjustment.hpp"),
        "return weight_decay != T(0) ? decayed : g;",
        "return decayed;",
    ),
    kernel(
        *("clip-without-eps", "adjustment.hpp"),
        "max_norm / (norm + 1e-6)",
        "max_norm / norm",
        WHOLE,
    ),
    kernel(
        *("clip-makes-longer", "adjustment.hpp"),
        "return factor > 1.0 ? 1.0 : factor;",
        "return factor;",
        NORM,
    ),
    kernel(
        *("clip-by-value-from-above-alone", "adjustment.hpp"),
        "g = g < -max_value ? -max_value : g;",
        "",
        WHOLE,
    ),
    kernel(
        *("unscaled-twice", "adjustment.hpp"),
        "g = g * factor;",
        "g = g * factor * factor;",
        WHOLE,
    ),
    kernel(
        *("reciprocal-for-any-scale", "adjustment.hpp"),
        "return exact ? 1.0 / scale : 0.0;",
        "return exact || scale != 0.0 ? 1.0 / scale : 0.0;",
        WHOLE,
    ),
    kernel(
        *("norm-skips-the-last-number", "stages.hpp"),
        "for (std::size_t i = whole; i < n; ++i) {",
        "for (std::size_t i = whole; i + 1 < n; ++i) {",
        NORM,
    ),
    kernel(
        *("large-doubles-are-infinite", "stages.hpp"),
        "return std::isfinite(sum) || (sizeof(T) == sizeof(double) && of_numbers() == T(0));",
        "return std::isfinite(sum) || (sizeof(T) == 0 && of_numbers() == T(0));",
        NORM,
    ),
    kernel(
        *("mean-of-the-sets-not-divided", "stages.hpp"),
        "out[i] = out[i] / divisor;",
        "out[i] = out[i] + 0 * divisor;",
        ("tests/exact/test_exact.py", "-k", "gradient_sets"),
    ),
    kernel(
        *("only-the-first-set-zeroed", "stages.hpp"),
        "for (std::size_t k = 0; k < source.set_count; ++k)\n    std::memset",
        "for (std::size_t k = 0; k < 1; ++k)\n    std::memset",
        ("tests/exact/test_whole_step.py", "-k", "sets"),
    ),
    kernel(
        *("working-copy-truncated", "stages.hpp"),
        "out[i] = bfloat16_bits(param[i]);",
        "out[i] = std::uint16_t(Words<std::uint32_t>::as_bits(param[i]) >> 16);",
        ("tests/exact/test_averages_and_copies.py",),
    ),
    kernel(
        *("row-sum-for-its-mean", "driver.hpp"),
        "mean_squares[i] /= static_cast<double>(size);",
        "mean_squares[i] /= 1.0;",
        ("tests/exact/test_rowwise.py",),
    ),
    kernel(
        *("repeated-row-not-summed", "named_rows.hpp"),
        "sum[j] = sum[j] + next[j];",
        "sum[j] = next[j];",
        ROWS,
    ),
    kernel(
        *("long-repeated-row-not-summed", "named_rows.hpp"),
        "gradient_.set_count = rows.first[row + 1] - rows.first[row];",
        "gradient_.set_count = 1;",
        ROWS,
    ),
    kernel(
        *("scale-of-the-first-block", "narrow_arrays.hpp"),
        "const float scale = array.scales[(at + i) / kBlock];",
        "const float scale = array.scales[at / kBlock];",
        NARROW,
    ),
    kernel(
        *("scale-stored-with-the-first-block", "narrow_arrays.hpp"),
        "array.scales[(at + i) / kBlock] = scale;",
        "array.scales[at / kBlock] = scale;",
        NARROW,
    ),
    kernel(
        *("scale-of-the-block-before", "streams.hpp"),
        "at += kBlock;\n    ++scale;",
        "at += kBlock;",
        NARROW,
    ),
    kernel(
        *("kahan-correction-not-read", "streams.hpp"),
        "return {param.first + rest.first, param.second + rest.second};",
        "return {param.first + 0.0f * rest.first, param.second + 0.0f * rest.second};",
        NARROW,
    ),
    kernel(
        *("seed-not-drawn-from", "narrow.hpp"),
        "draw_{gradient.draw.seed, gradient.draw.step,",
        "draw_{0, gradient.draw.step,",
        NARROW,
    ),
    kernel(
        *("the-same-draw-for-every-tensor", "narrow.hpp"),
        "gradient.draw.step, part.tensor->number}",
        "gradient.draw.step, 0}",
        NARROW,
    ),
]

FORMATS = [
    format_(
        *("half-rounds-up", "rounding.hpp"),
        "((code >> dropped) & 1u) + ((1u << (dropped - 1)) - 1u);",
        "(1u << (dropped - 1)) + (code & 0u);",
        ("tests/exact/test_averages_and_copies.py",),
    ),
    format_(
        *("stochastic-rounding-always-down", "rounding.hpp"),
        "return uniform >> (32 - dropped);",
        "return (uniform >> (32 - dropped)) & 0u;",
    ),
    format_(
        *("kahan-keeps-nothing", "codes.hpp"),
        "return rest - rest == none ? rest : none;",
        "return none;",
    ),
    format_(
        *("kahan-keeps-nan", "codes.hpp"),
        "return rest - rest == none ? rest : none;",
        "return rest;",
    ),
    format_(
        *("split-truncates", "codes.hpp"),
        "code = (code + round(code, kLost)) >> kLost;",
        "code = (code + 0 * round(code, kLost)) >> kLost;",
    ),
    format_(
        *("scale-of-the-exponent-alone", "codes.hpp"),
        "(largest + 0x110000u) >> 23",
        "largest >> 23",
    ),
    format_(
        *("small-squares-become-0", "codes.hpp"),
        "return result > least ? result : least;",
        "return result > least ? result : result;",
        ("tests/formats/test_exact.py", "-k", "small_in_its_block"),
    ),
]

MUTANTS = [*ARITHMETIC, *KERNELS, *FORMATS]
