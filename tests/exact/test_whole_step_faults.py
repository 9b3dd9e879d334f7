"""A whole step that fails leaves every byte as it was: with clipping, averages and zeroing on."""

import math

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, RULES
from optimizers import needs_dlpack, numbers, refused

POLICY = {
    "max_grad_norm": 0.5,
    "max_grad_value": 0.1,
    "error_if_nonfinite": True,
    "ema_decay": 0.9,
}
OTHER = {"float32": "float64", "float64": "float32"}


def whole(rule, dtype):
    """An optimizer with everything on, after a step, and all its other arrays."""
    params = numbers(1, dtype)
    copies = {name: np.zeros(p.shape, np.uint16) for name, p in params.items()}
    own = {"working_copy": copies} if dtype == "float32" else {}
    opt = fs.create(rule, params, **POLICY, **own)
    opt.step(numbers(2, dtype), grad_scale=2.0)
    return opt, [*copies.values()]


def faults(dtype):
    """What is wrong with the last gradient, and the error."""
    good = np.ones((3, 5), dtype)
    nan, inf = good.copy(), good.copy()
    nan[-1, -1], inf[0, 0] = math.nan, -math.inf
    yield good.astype(OTHER[dtype]), TypeError, "expected dtype"
    yield np.ones((5, 3), dtype), ValueError, "expected shape"
    yield nan, FloatingPointError, "got NaN or infinity"
    yield inf, FloatingPointError, "got NaN or infinity"
    locked = good.copy()
    locked.flags.writeable = False
    yield locked, ValueError, "read-only"  # it was to be zeroed


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
def test_the_last_gradient_of_a_list_is_bad(rule, dtype):
    opt, others = whole(rule, dtype)
    grads = numbers(3, dtype)
    for bad, error, words in faults(dtype):
        passed = {**grads, "last": bad}
        untouched = [*passed.values(), *others]
        with refused(opt, error, "'last'", "expected", "got", words, untouched=untouched):
            opt.step(passed, grad_scale=4.0, zero_grads=True)
    assert opt.step(grads, zero_grads=True).applied


@pytest.mark.parametrize("rule", RULES)
def test_a_parameter_of_a_list_is_read_only(rule):
    opt, others = whole(rule, "float32")
    grads = numbers(3, "float32")
    opt.params["last"].flags.writeable = False
    untouched = [*grads.values(), *others]
    with refused(opt, ValueError, "parameter 'last'", "read-only", untouched=untouched):
        opt.step(grads, zero_grads=True)
    opt.params["last"].flags.writeable = True
    assert opt.step(grads, zero_grads=True).applied


@needs_dlpack
def test_a_working_copy_whose_memory_was_exchanged():
    torch = pytest.importorskip("torch", reason="torch lends CPU tensors through DLPack")
    exchanges = (
        lambda copy: setattr(copy, "data", torch.zeros(1000, dtype=torch.bfloat16)),
        lambda copy: copy.resize_(1 << 20),
        lambda copy: copy.untyped_storage().resize_(0),
    )
    for exchange in exchanges:
        w, copy = np.ones(1000, np.float32), torch.zeros(1000, dtype=torch.bfloat16)
        opt = fs.SGD({"w": w}, lr=0.5, working_copy={"w": copy})
        opt.step({"w": np.ones_like(w)})
        assert (copy == 0.5).all()
        exchange(copy)
        with refused(
            opt, fs.ArrayChangedError, "working copy of 'w'", "expected the array as it was"
        ):
            opt.step({"w": np.ones_like(w)})


def test_one_mapping_is_not_a_list_of_sets():
    opt = fs.SGD({"w": np.ones(3)})
    for step in (opt.step_mean, opt.step_sum):
        with refused(
            opt, TypeError, "grad_sets: expected a list of gradient sets, got one mapping"
        ):
            step({"w": np.ones(3)})


def test_a_working_copy_is_locked():
    opt, others = whole("adam", "float32")
    others[1].flags.writeable = False
    grads = numbers(3, "float32")
    with refused(
        opt, ValueError, "working copy", "read-only", untouched=[*grads.values(), *others]
    ):
        opt.step(grads, zero_grads=True)
    others[1].flags.writeable = True
    assert opt.step(grads, zero_grads=True).applied


def test_gradients_that_share_memory_cannot_be_zeroed():
    opt, _ = whole("adam", "float32")
    grads = numbers(3, "float32")
    grads["last"] = grads["first"]
    words = ("gradient of 'last'", "zero_grads", "gradient of 'first'")
    with refused(opt, ValueError, *words, untouched=[*grads.values()]):
        opt.step(grads, zero_grads=True)
    assert opt.step(grads).applied


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan, math.inf, 1e39, 1e-39, "x", None, True])
def test_bad_scales(scale):
    opt, _ = whole("adam", "float32")
    grads = numbers(3, "float32")
    error = ValueError if isinstance(scale, float) else TypeError
    calls = [
        lambda: opt.step(grads, grad_scale=scale),
        lambda: opt.step_mean([grads], grad_scale=scale),
        lambda: opt.step_rows("last", np.array([0]), np.ones((1, 5), "float32"), grad_scale=scale),
    ]
    for call in calls if scale is not True else calls[1:]:  # True == 1.0
        with refused(opt, error, "grad_scale: expected a number from 2**-126", "got"):
            call()


@pytest.mark.parametrize("zero", [1, None, "yes"])
def test_zeroing_is_asked_for_in_clear_words(zero):
    opt, _ = whole("adam", "float32")
    with refused(opt, TypeError, "zero_grads: expected True or False", "got"):
        opt.step(numbers(3, "float32"), zero_grads=zero)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"skip_nonfinite": 1}, TypeError, "skip_nonfinite: expected True or False, got 1"),
        ({"error_if_nonfinite": None}, TypeError, "error_if_nonfinite: expected True or False"),
        ({"clip_per_group": "no"}, TypeError, "clip_per_group: expected True or False"),
        ({"ema_decay": 1.0}, ValueError, "ema_decay: expected 0 <= number < 1, got 1.0"),
        ({"ema_decay": -0.1}, ValueError, "ema_decay: expected 0 <= number < 1"),
        ({"ema_decay": "x"}, TypeError, "ema_decay: expected 0 <= number < 1"),
        ({"ema_bias_correction": True}, ValueError, "ema_bias_correction needs ema_decay"),
        ({"skip_nonfinite": True, "error_if_nonfinite": True}, ValueError, "exclude each other"),
        ({"working_copy": [1]}, TypeError, "working_copy: expected a mapping"),
        (
            {"working_copy": {"x": np.zeros(3, np.uint16)}},
            ValueError,
            "no parameter is named 'x'; there are w",
        ),
        ({"clip_per_group": True}, ValueError, "clip_per_group: expected max_grad_norm with it"),
    ],
    ids=str,
)
def test_bad_policies(options, error, words):
    with pytest.raises(error) as caught:
        fs.Adam({"w": np.ones(3, np.float32)}, **options)
    assert words in str(caught.value)


def test_policies_are_the_optimizers():
    """A group cannot have one of its own."""
    for name in ("ema_decay", "skip_nonfinite", "working_copy"):
        with pytest.raises(TypeError, match=rf"^Adam: got '{name}' \(of the whole optimizer: "):
            fs.Adam([{"params": np.ones(3), name: None}])


def overlapping(w):
    return w.view(np.uint16)[: w.size]


@pytest.mark.parametrize(
    ("copy", "error", "words"),
    [
        (lambda _: np.zeros(3, np.float16), TypeError, "bfloat16"),
        (lambda _: np.zeros(4, np.uint16), ValueError, "expected shape (3,)"),
        (lambda _: np.zeros(6, np.uint16)[::2], ValueError, "contiguous"),
        (lambda _: np.zeros(3, ">u2"), ValueError, "byte order"),
        (overlapping, ValueError, "overlaps parameter 'w'"),
        (lambda _: [0, 0, 0], TypeError, "got list"),
    ],
)
def test_bad_working_copies(copy, error, words):
    w = np.ones(3, np.float32)
    with pytest.raises(error) as caught:
        fs.Adam({"w": w}, working_copy={"w": copy(w)})
    assert "working copy of 'w'" in str(caught.value)
    assert words in str(caught.value)


def test_working_copies_are_of_float32():
    with pytest.raises(TypeError, match="expected a float32 parameter, got one of float64"):
        fs.Adam({"w": np.ones(3)}, working_copy={"w": np.zeros(3, np.uint16)})


@pytest.mark.parametrize(
    ("group", "error", "words"),
    [
        ({"lr": 0.1}, TypeError, "group: expected a mapping with the key 'params'"),
        ([np.ones(3)], TypeError, "group: expected a mapping"),
        ({"params": {"first": np.ones(3)}}, ValueError, "'first' twice"),
        ({"params": {"new": np.ones(3)}, "lr": -1.0}, ValueError, "lr: expected"),
        ({"params": {"new": np.ones(3)}, "rate": 1.0}, TypeError, "got 'rate'"),
        ({"params": {"new": np.ones(3, int)}}, TypeError, "parameter 'new': expected dtype"),
        ({"params": {"new": np.ones(3), "worse": [1]}}, TypeError, "'worse.0'"),
        ({"params": []}, ValueError, "expected at least one array"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_bad_group_is_not_added(group, error, words):
    opt, others = whole("adam", "float32")
    with refused(opt, error, words, untouched=others):
        opt.add_group(group)
    assert opt.step(numbers(4, "float32")).applied


def test_a_group_that_overlaps_is_not_added():
    opt, _ = whole("adam", "float32")
    with refused(opt, ValueError, "parameter 'new'", "overlaps", "parameter 'first'"):
        opt.add_group({"params": {"new": opt.params["first"][1:]}})
    opt.add_group({"params": {"new": np.ones(3, np.float32)}, "lr": 0.5})
    assert [group.lr for group in opt.groups] == [1e-3, 0.5]
