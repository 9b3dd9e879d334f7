"""ScheduleFreeAdamW between training and evaluation."""

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, same_bits
from reference import Run
from textbook import TEXTBOOK


def trained(dtype, order="C", steps=20, **options):
    rng = np.random.default_rng(1)
    start = {n: np.asarray(rng.standard_normal((7, 5)), dtype, order=order) for n in "ab"}
    grads = [{n: np.asarray(rng.standard_normal((7, 5)), dtype, order=order) for n in "ab"}]
    grads *= steps
    runs = {
        n: Run("schedulefreeadamw", options, a.astype(np.longdouble), TEXTBOOK)
        for n, a in start.items()
    }
    opt = fs.ScheduleFreeAdamW(start, **options)
    for grad in grads:
        opt.step(grad)
        for name, run in runs.items():
            run.step(grad[name].astype(np.longdouble))
    return opt, runs, grads[0]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order", "CF")
@pytest.mark.parametrize("options", [{}, {"warmup_steps": 7.0, "betas": (0.5, 0.9), "lr": 0.1}])
def test_eval_is_the_average_and_train_is_exact(dtype, order, options):
    opt, runs, grad = trained(dtype, order, **options)
    control, _, _ = trained(dtype, order, **options)
    opt.eval()
    for name, run in runs.items():
        # Reading x off y and z multiplies what was rounded by 1 / beta1.
        bound = np.finfo(dtype).eps * 100 / options.get("betas", (0.9,))[0]
        assert np.allclose(opt.params[name], run.state["x"], rtol=0, atol=bound)
        assert not np.allclose(opt.params[name], control.params[name], rtol=0, atol=bound)
    seen = {name: param.copy() for name, param in opt.params.items()}
    opt.eval()
    assert all(same_bits(opt.params[name], seen[name]) for name in seen)
    for _ in range(2):
        opt.train()
        assert all(same_bits(opt.params[name], control.params[name]) for name in seen)
    opt.step(grad)
    control.step(grad)
    assert all(same_bits(opt.params[name], control.params[name]) for name in seen)


def test_a_parameter_that_was_never_updated_is_its_average():
    opt = fs.ScheduleFreeAdamW({"a": np.full(3, 0.1), "b": np.full(3, 0.1)})
    opt.step({"a": np.ones(3)})
    opt.eval()
    assert same_bits(opt.params["b"], np.full(3, 0.1))
    assert (opt.params["a"] < 0.1).all()


def test_beta1_cannot_change_under_the_parameters_that_were_formed_with_it():
    opt, _, grad = trained("float64")
    words = r"^betas: expected 0.9 first as so far, with which the parameters were formed, got \(0"
    for change in ({"betas": (0.5, 0.999)}, {"lr": 1.0, "betas": (0.5, 0.9)}):
        with pytest.raises(ValueError, match=words):
            opt.groups[0].update(change)
    assert opt.groups[0]["betas"] == (0.9, 0.999)
    opt.groups[0]["betas"] = (0.9, 0.5)
    opt.step(grad)
    loaded = fs.ScheduleFreeAdamW({n: p.copy() for n, p in opt.params.items()}, betas=(0.5, 0.9))
    loaded.load_state_dict(opt.state_dict())
    for each in (opt, loaded):
        each.eval()
    assert all(same_bits(opt.params[name], loaded.params[name]) for name in opt.params)


def test_what_eval_refuses():
    opt, _, grad = trained("float32")
    saved = opt.state_dict()
    opt.bind(grad)
    opt.eval()
    calls = {
        "step": [opt.step, lambda: opt.step(grad), lambda: opt.step_mean([grad, grad])],
        "state_dict": [opt.state_dict],
        "load_state_dict": [lambda: opt.load_state_dict(saved)],
        "add_group": [lambda: opt.add_group({"params": {"c": np.ones(2)}})],
    }
    for name, some in calls.items():
        for call in some:
            before = (
                rf"cannot call {name}\(\) after eval\(\), while the parameters hold the averages"
            )
            if name == "step":
                before = r"cannot step after eval\(\), .* call train\(\) first"
            with pytest.raises(RuntimeError, match=f"^{before}"):
                call()
    opt.train()
    opt.load_state_dict(saved)
    opt.step()


def test_eval_while_the_averages_are_swapped_in():
    opt = fs.ScheduleFreeAdamW({"a": np.ones(3)}, ema_decay=0.9)
    with (
        opt.ema.swapped_in(),
        pytest.raises(RuntimeError, match=r"^cannot call eval\(\) inside ema.swapped_in\(\), "),
    ):
        opt.eval()
    opt.eval()
    with (
        pytest.raises(RuntimeError, match=r"^cannot enter ema.swapped_in\(\) after .* train"),
        opt.ema.swapped_in(),
    ):
        pass


def test_the_average_must_be_readable():
    with pytest.raises(ValueError, match=r"betas\[0\]: expected a number > 0"):
        fs.ScheduleFreeAdamW([np.ones(2)], betas=(0.0, 0.999))
