"""Options that are numbers in double and 0 or infinite in float32 are refused where there is float32."""

import inspect

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs
from cases import CASE_IDS, CASES, DTYPES, RULES
from fusedstep._definition import registry
from optimizers import refused

MISFITS = [
    ("sgd", "lr", 1e39),
    ("adam", "eps", 1e-50),
    ("adam", "weight_decay", 1e39),
    ("adamw", "weight_decay", 1e39),
    ("sgd", "max_grad_value", 1e-50),
    ("sgd", "max_grad_value", 2.0**-150),
    ("lars", "trust_coefficient", 1e300),
]
FITS = [
    ("sgd", "lr", 1e-50),
    ("sgd", "lr", float(np.finfo("float32").max)),
    ("adam", "eps", 0.0),
    ("adam", "eps", 1e-40),
    ("rmsprop", "eps", 1e-45),  # which nothing scales
    ("sgd", "max_grad_value", np.inf),
    ("sgd", "max_grad_norm", 1e300),
]


def words(option, value, name="w"):
    return (
        f"{option}: expected a number that float32 can hold, since parameter '{name}' is float32, "
        f"got {value!r}"
    )


def ones(**dtypes):
    return {name: np.ones(3, dtype) for name, dtype in dtypes.items()}


@pytest.mark.parametrize(("rule", "option", "value"), MISFITS)
def test_misfits(rule, option, value):
    with pytest.raises(ValueError) as info:  # noqa: PT011
        fs.create(rule, ones(v="float64", w="float32"), **{option: value})
    assert str(info.value) == words(option, value)
    opt = fs.create(rule, ones(w="float32"))
    opt.step(ones(w="float32"))
    with refused(opt, ValueError, words(option, value)):
        opt.groups[0][option] = value
    with refused(opt, ValueError, words(option, value, "new")):
        opt.add_group({"params": ones(new="float32"), option: value})
    saved = opt.state_dict()
    saved["groups"][0][option], saved["step_count"] = value, 7
    with refused(opt, ValueError, words(option, value)):
        opt.load_state_dict(saved)
    opt.add_group({"params": ones(new="float64"), option: value})
    fs.create(rule, ones(w="float64"), **{option: value}).step(ones(w="float64"))


@pytest.mark.parametrize(("rule", "option", "value"), FITS)
def test_what_fits(rule, option, value):
    opt = fs.create(rule, ones(w="float32"), **{option: value})
    assert opt.groups[0][option] == value


# What the rule makes of them at the first step rounds to 0, or to infinity.
SCALED = [
    ("float32", {"eps": 1e-44}, "eps"),
    ("float32", {"eps": 1e-38, "betas": (0.9, 1 - 2**-53)}, "eps"),
    ("float32", {"eps": 1e-44, "eps_inside_sqrt": True}, "eps"),
    ("float64", {"eps": 5e-324}, "eps"),
    ("float32", {"lr": 1e30, "betas": (1 - 2**-53, 0.999)}, "lr"),
]


@pytest.mark.parametrize(("dtype", "options", "option"), SCALED)
def test_misfits_once_scaled(dtype, options, option):
    words = (
        f"{option}: expected a number that {dtype} can hold once the rule has scaled it, since "
        f"parameter 'w' is {dtype}, got {options[option]!r}"
    )
    with pytest.raises(ValueError) as info:  # noqa: PT011
        fs.Adam(ones(w=dtype), **options)
    assert str(info.value) == words
    opt = fs.Adam(ones(w=dtype), **{**options, option: 1e-3})
    with refused(opt, ValueError, words):
        opt.groups[0][option] = options[option]
    if dtype == "float32":
        fs.Adam(ones(w="float64"), **options).step(ones(w="float64"))


def test_a_divisor_of_0_is_the_callers_own():
    opt = fs.Adam(ones(w="float32"), eps=0.0)
    opt.step(ones(w="float32"))
    assert np.isfinite(opt.params["w"]).all()


@st.composite
def extreme_options(draw, rule):
    """Numbers from the least to the largest that are taken, and factors of averages close to 1."""
    near_1 = st.sampled_from([0.0, 0.5, 0.9, 0.999, 1 - 1e-10, 1 - 2**-53])
    numbers = st.one_of(
        st.integers(-330, 38).map(lambda exponent: float(f"1e{exponent}")), st.just(0.0)
    )
    options = {"weight_decay": 0.0}  # with it the rule would see a gradient
    for name, parameter in inspect.signature(registry[rule]).parameters.items():
        if name == "betas":
            options[name] = tuple(draw(near_1) for _ in parameter.default)
        elif name in ("rho", "alpha", "momentum"):
            options[name] = draw(near_1)
        elif name in ("lr", "eps"):
            options[name] = draw(numbers)
    return options


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", RULES)
@given(data=st.data())
def test_a_zero_gradient_is_never_nan(rule, dtype, data):
    options = data.draw(extreme_options(rule))
    start = np.array([0.0, 1.0, -2.0], dtype)
    try:
        opt = fs.create(rule, {"w": start.copy()}, **options)
    except ValueError:
        return
    for _ in range(3):
        opt.step({"w": np.zeros(3, dtype)})
        if options.get("eps") != 0.0:
            assert not np.isnan(opt.params["w"]).any(), options


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rule", "options"), CASES, ids=CASE_IDS)
def test_ordinary_numbers_fit(rule, options, dtype):
    names = inspect.signature(registry[rule]).parameters
    for option, values in {"eps": (1e-30, 1e-3), "lr": (0.0, 1e-30, 10.0)}.items():
        for value in values if option in names else ():
            fs.create(rule, ones(w=dtype), **{**options, option: value})


def test_functions_schedules_and_rates_of_all_groups():
    with pytest.raises(ValueError, match="lr: expected a number that float32 can hold"):
        fs.functional.sgd(np.ones(3, "float32"), np.ones(3, "float32"), step=1, lr=1e39)
    opt = fs.SGD(ones(w="float32"), lr=lambda step: 1e39 if step else 1.0)
    opt.step(ones(w="float32"))
    with pytest.raises(ValueError, match="lr: expected a number that float32 can hold"):
        opt.step(ones(w="float32"))
    assert (opt.params["w"] == 0).all()
    groups = [{"params": ones(v="float64")}, {"params": ones(w="float32")}]
    opt = fs.SGD(groups, lr=1.0)
    with refused(opt, ValueError, words("lr", 1e39)):
        opt.lr = 1e39


def test_weights():
    for weights, option, value in (
        ([1e39, 1e39], "weights[0]", 1e39),
        ([1.0, 1e-46], "weights[1]", 1e-46),
        ([3e38, 3e38], "sum of weights", 6e38),
    ):
        opt = fs.SGD(ones(w="float32"), lr=1.0, skip_nonfinite=True)
        with refused(opt, ValueError, words(option, value)):
            opt.step_mean([ones(w="float32")] * 2, weights=weights)
        wide = fs.SGD(ones(w="float64"), lr=1.0)
        wide.step_mean([ones(w="float64")] * 2, weights=weights)
        assert (wide.params["w"] == 0).all()
    opt.step_mean([ones(w="float32")] * 2, weights=[0.0, 1e-45])
    assert (opt.params["w"] == 0).all()
    with refused(opt, ValueError, words("weights[0]", 1e39)):
        opt.step_sum([ones(w="float32")], weights=[1e39])
