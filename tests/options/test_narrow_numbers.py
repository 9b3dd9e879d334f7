"""Options that are numbers in double and 0 or infinite in float32 are refused where there is float32."""

import numpy as np
import pytest

import fusedstep as fs
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
    ("adam", "eps", 1e-45),
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
