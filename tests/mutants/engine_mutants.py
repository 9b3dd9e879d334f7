"""Mistakes in the engine, and in the checks of arrays before it."""

from mutant import Mutant

EXACT = ("tests/exact/test_exact.py", "-k", "every_length and ([adam- or [sgd-)")
WHOLE = ("tests/exact/test_whole_step.py",)
NORM = ("tests/exact/test_norm.py",)
ROWS = ("tests/exact/test_rows.py",)
NARROW = ("tests/formats/test_exact.py",)
INPUT = ("tests/arrays/test_bad_input.py", "-k", "float32-adam] or float64-adam]")
COUNTERS = ("tests/saving/test_counters.py",)
LARGE = ("tests/exact/test_exact.py", "-k", "large_arrays")


def engine(name, file, right, wrong, tests=WHOLE):
    return Mutant(name, f"cpp/engine/{file}", right, wrong, tests)


def bindings(name, file, right, wrong, tests=INPUT):
    return Mutant(name, f"cpp/bindings/{file}", right, wrong, tests)


ENGINE = [
    engine(
        *("part-begins-one-item-late", "plan.hpp"),
        "const std::size_t begin = item_at(i, from),",
        "const std::size_t begin = item_at(i, from) + (from != 0),",
        LARGE,
    ),
    engine(
        *("counter-not-advanced", "stepper.cpp"),
        "for (const Task& task : batch.tasks) ++steps_[task.participant->tensor];",
        "",
        COUNTERS,
    ),
    engine(
        *("step-count-not-advanced", "stepper.cpp"),
        "if (advances_) ++step_count_;",
        "",
        COUNTERS,
    ),
    engine(
        *("step-count-advanced-by-rows", "stepper.cpp"),
        "if (advances_) ++step_count_;",
        "++step_count_;",
        ("tests/exact/test_rows.py", "tests/exact/test_one_step.py"),
    ),
    engine(
        *("step-count-advanced-by-a-skipped-step", "stepper.cpp"),
        "result.applied = false;",
        "result.applied = false, ++step_count_;",
    ),
    engine(
        *("only-skipped-where-it-raises-nothing", "stepper.cpp"),
        "if (!finite && (policy_.skip_nonfinite || policy_.error_if_nonfinite)) {",
        "if (!finite && policy_.skip_nonfinite) {",
        (*WHOLE, "-k", "refused_where"),
    ),
    engine(
        *("one-norm-for-all-groups", "stepper.cpp"),
        "const double own = policy_.clip_per_group ? batch.norm(g) : norm;",
        "const double own = norm;",
        NORM,
    ),
    engine(
        *("counter-of-the-tensor-before", "stepper.cpp"),
        "tensors_[a].format() == tensors_[b].format() &&\n           steps_[a] == steps_[b];",
        "tensors_[a].format() == tensors_[b].format();",
        ("tests/exact/test_functional_lists.py",),
    ),
    engine(
        *("group-of-the-tensor-before", "stepper.cpp"),
        "return tensors_[a].group == tensors_[b].group && ",
        "return ",
        NORM,
    ),
    engine(
        *("dense-step-forgets-rows", "stepper.cpp"),
        "if (next_ != &dense_) arrangement_.invalidate();",
        "",
        ROWS,
    ),
    engine(
        *("frozen-too-late", "stepper.cpp"),
        "frozen_.at(tensor) = frozen;\n  arrangement_.invalidate();",
        "frozen_.at(tensor) = frozen;",
        ("tests/options/test_groups.py",),
    ),
    engine(
        *("frozen-parameter-updated", "arrangement.cpp"),
        "if (has_gradient_[i] && !roster.is_frozen(i))",
        "if (has_gradient_[i])",
        ("tests/options/test_groups.py",),
    ),
    engine(
        *("frozen-gradient-not-zeroed", "roster.hpp"),
        "for (std::size_t k = 0; frozen_[i] && k < gradients.set_count; ++k)",
        "for (std::size_t k = 0; !frozen_[i] && k < 0; ++k)",
        ("tests/exact/test_zeroing.py",),
    ),
    engine(
        *("loaded-counters-used-too-late", "stepper.cpp"),
        "step_count_ = step_count;\n  arrangement_.invalidate();",
        "step_count_ = step_count;",
        ("tests/saving/test_set_counters.py", "tests/saving/test_counters.py"),
    ),
    engine(
        *("bias-correction-of-the-step-before", "stepper.cpp"),
        "(group.scalars.data(), step + 1,",
        "(group.scalars.data(), step,",
        EXACT,
    ),
    engine(
        *("the-same-draw-at-every-step", "stepper.cpp"),
        "{policy_.seed, static_cast<std::uint64_t>(step) + 1, 0};",
        "{policy_.seed, static_cast<std::uint64_t>(step) * 0 + 1, 0};",
        NARROW,
    ),
    engine(
        *("counter-overflows", "roster.hpp"),
        "if (steps == std::numeric_limits<std::int64_t>::max())",
        "if (steps < 0)",
        COUNTERS,
    ),
    engine(
        *("norm-of-the-last-tensor", "batch.cpp"),
        "slots_.data() + task.participant->slot);",
        "slots_.data());",
        NORM,
    ),
    engine(
        *("finite-where-the-first-is", "batch.cpp"),
        "return std::find(finite_.begin(), finite_.end(), 0) == finite_.end();",
        "return finite_.empty() || finite_.front() != 0;",
    ),
    engine(
        *("partial-overlap-not-seen", "overlap.hpp"),
        "after->begin < wanted.end) return",
        "after->begin <= wanted.begin) return",
        ("tests/arrays/test_overlaps.py",),
    ),
]

BINDINGS = [
    bindings(
        *("read-only-check-dropped", "check.cpp"),
        "if (expected.writeable && !array.is_writeable) refuse_read_only(subject);",
        "",
    ),
    bindings(
        *("shape-check-dropped", "check.cpp"),
        "if (like != nullptr && array.shape != like->shape)",
        "if (like != nullptr && array.shape.size() != like->shape.size())",
    ),
    bindings(
        *("byte-order-check-dropped", "check.cpp"),
        "if (!array.is_native)",
        "if (false)",
    ),
    bindings(
        *("alignment-check-dropped", "check.cpp"),
        "if (offset != 0)",
        "if (false)",
    ),
    bindings(
        *("gaps-check-dropped", "check.cpp"),
        "if (like == nullptr &&\n      !is_dense(",
        "if (like == nullptr && false &&\n      !is_dense(",
    ),
    bindings(
        *("order-check-dropped", "check.cpp"),
        "if (like != nullptr &&\n      !are_alike(",
        "if (like != nullptr && false &&\n      !are_alike(",
    ),
    bindings(
        *("dtype-check-dropped", "check.hpp"),
        "return {Formats::numbers(compute_of(param))};",
        "return {(void(param), Formats::numbers())};",
    ),
    bindings(
        *("overlap-check-of-gradients-dropped", "gradients.hpp"),
        "if (array.data != checked.data) members.refuse_overlap(checked, subject);",
        "",
    ),
    bindings(
        *("overlap-check-of-zeroed-gradients-dropped", "gradients.hpp"),
        "if (const auto overlap = sort_by_address(ranges))",
        "if (const auto overlap = sort_by_address(ranges); false)",
        ("tests/exact/test_whole_step_faults.py",),
    ),
    bindings(
        *("row-behind-the-last", "rows.cpp"),
        "all_fit = all_fit && result[i] < limit;",
        "all_fit = all_fit && result[i] <= limit;",
        ROWS,
    ),
    bindings(
        *("repeated-row-stepped-twice", "rows.cpp"),
        "if (gradients.rows.empty() || gradients.rows.back() != row) {",
        "{",
        ROWS,
    ),
    bindings(
        *("arrays-not-looked-at-again", "py_stepper.hpp"),
        "members_.check_written();\n    if (zero)",
        "if (zero)",
        ("tests/arrays/test_changed_arrays.py",),
    ),
    bindings(
        *("state-not-restored", "py_stepper.hpp"),
        "for (std::size_t k = 0; k < new_states.size(); ++k)",
        "for (std::size_t k = 0; k < 0; ++k)",
        COUNTERS,
    ),
    bindings(
        *("counters-not-restored", "py_stepper.hpp"),
        "engine_.set_counters(step_count, steps);",
        "",
        COUNTERS,
    ),
    bindings(
        *("step-while-averages-are-swapped-in", "swapped.hpp"),
        "if (!why_.empty()) throw",
        "if (false) throw",
        ("tests/exact/test_averages_and_copies.py",),
    ),
]

MUTANTS = [*ENGINE, *BINDINGS]
