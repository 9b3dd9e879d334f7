"""ScheduleFreeAdamW is evaluated at its average, and goes on from where it was."""

import copy

import pytest

torch = pytest.importorskip("torch")

import numpy as np

import fusedstep
import fusedstep.torch as ft
from killed import same

KINDS = {
    "float32": lambda: torch.linspace(-1.0, 1.0, 24).reshape(4, 6),
    "bfloat16": lambda: torch.linspace(-1.0, 1.0, 24).reshape(4, 6).bfloat16(),
    "complex64": lambda: torch.complex(torch.linspace(-1.0, 1.0, 6), torch.linspace(2.0, 3.0, 6)),
    "gaps": lambda: torch.linspace(-1.0, 1.0, 48).reshape(4, 12)[:, ::2],
}


def made(kind, **options):
    param = KINDS[kind]().requires_grad_()
    return param, ft.ScheduleFreeAdamW([param], lr=0.1, **options)


def train(param, opt, steps=3):
    for _ in range(steps):
        opt.zero_grad()
        (param - 1).abs().square().sum().backward()
        opt.step()


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_saved_in_evaluation_goes_on_to_the_same_bits(kind, tmp_path):
    param, opt = made(kind)
    train(param, opt)
    trained = param.detach().clone()
    opt.eval()
    averaged = param.detach().clone()
    assert not torch.equal(averaged, trained)
    torch.save([param.detach(), opt.state_dict()], tmp_path / "saved.pt")

    other, resumed = made(kind)
    values, state = torch.load(tmp_path / "saved.pt")
    other.data.copy_(values)
    resumed.load_state_dict(state)
    resumed.eval()
    assert torch.equal(other, averaged)
    for own, optimizer in ((param, opt), (other, resumed)):
        optimizer.train()
        optimizer.train()
        assert torch.equal(own, trained)
        train(own, optimizer)
    assert torch.equal(param, other)
    assert same(opt.state_dict(), resumed.state_dict())


def test_the_average_is_that_of_the_numpy_face():
    param, opt = made("float32")
    array = param.detach().numpy().copy()
    other = fusedstep.ScheduleFreeAdamW(array, lr=0.1)
    for _ in range(3):
        train(param, opt, 1)
        other.step(param.grad.numpy())
    opt.eval()
    other.eval()
    assert np.array_equal(param.detach().numpy(), array)


def test_it_evaluates_as_soon_as_it_was_loaded():
    param, opt = made("float32")
    train(param, opt)
    other, loaded = made("float32")
    other.data.copy_(param.data)
    loaded.load_state_dict(copy.deepcopy(opt.state_dict()))
    opt.eval()
    loaded.eval()
    assert torch.equal(param, other)


def test_no_step_in_evaluation():
    param, opt = made("float32")
    opt.eval()  # nothing was averaged yet
    train(param, opt)
    opt.eval()
    before = param.detach().clone()
    with pytest.raises(RuntimeError, match="between eval"):
        opt.step()
    assert torch.equal(param, before)
    opt.train()
    opt.step()
