"""Gradients bound once, which torch's backward passes replace."""

import pytest

import fusedstep as fs
from optimizers import needs_dlpack

torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
pytestmark = needs_dlpack


def model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.Tanh(), torch.nn.Linear(5, 1))


def loss_of(model, step):
    x = torch.linspace(-1, 1, 12).reshape(4, 3) + 0.1 * step
    return (model(x) ** 2).sum()


@pytest.mark.parametrize("set_to_none", [True, False])
@pytest.mark.parametrize("how", ["parameters", "named", "params"])
def test_the_parameters_themselves(set_to_none, how):
    mine, theirs = model(), model()
    params = mine.parameters() if how == "parameters" else dict(mine.named_parameters())
    opt = fs.Adam(params, lr=0.01)
    reference = torch.optim.Adam(theirs.parameters(), lr=0.01)
    bound = {
        "parameters": mine.parameters,
        "named": lambda: dict(mine.named_parameters()),
        "params": lambda: opt.params,
    }
    opt.bind(bound[how]())
    for step in range(5):
        for net in (mine, theirs):
            net.zero_grad(set_to_none=set_to_none)
            loss_of(net, step).backward()
        opt.step()
        reference.step()
    for ours, other in zip(mine.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(ours, other)
    assert opt.step_count == 5


def test_only_some_of_them():
    a, b = (torch.zeros(3, requires_grad=True) for _ in range(2))
    opt = fs.SGD({"a": a, "b": b}, lr=1.0)
    opt.bind({"b": b})
    with pytest.raises(ValueError, match="expected at least one, got none"):
        opt.step()
    (a + b).sum().backward()
    opt.step()
    assert (a == 0).all()
    assert (b == -1).all()


def test_fault_37_a_grad_that_is_another_tensor_is_noticed():
    a, b = (torch.zeros(3, requires_grad=True) for _ in range(2))
    opt = fs.SGD({"a": a, "b": b}, lr=1.0)
    (a + b).sum().backward()
    opt.bind({"a": a.grad, "b": b.grad})
    opt.step()
    b.grad = None
    with pytest.raises(RuntimeError, match=r"gradient of 'b': .*got None.*bind\(params\)"):
        opt.step()
    (a + b).sum().backward()
    with pytest.raises(RuntimeError, match=r"gradient of 'b': .*got another tensor"):
        opt.step()
    assert opt.step_count == 1
    assert (b == -1).all()


def test_tensors_that_are_no_grad_may_be_bound():
    w, g = torch.zeros(3, requires_grad=True), torch.ones(3)
    opt = fs.SGD([w], lr=1.0)
    opt.bind([g])
    w.sum().backward()
    opt.step()
    assert (w == -1).all()


def test_adding_a_group_releases_them():
    w, v = (torch.zeros(3, requires_grad=True) for _ in range(2))
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.bind({"w": w})
    opt.add_group({"params": {"v": v}})
    (w + v).sum().backward()
    with pytest.raises(RuntimeError, match="without gradients"):
        opt.step()


@pytest.mark.parametrize("bound", [False, True])
def test_zeroed_gradients_are_reported_to_autograd(bound):
    w = torch.ones(3, requires_grad=True)
    (grad,) = torch.autograd.grad((w**3).sum(), w, create_graph=True)
    later = (grad**2).sum()
    opt = fs.SGD([torch.zeros(3)], lr=1.0)
    given = [grad.detach()]
    if bound:
        opt.bind(given)
        opt.step(zero_grads=True)
    else:
        opt.step(given, zero_grads=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        later.backward()


def test_a_list_that_is_emptied_meanwhile():
    w = torch.zeros(3, requires_grad=True)
    grads = [torch.ones(3)]

    class Emptying:
        """Its export empties the list that it came in."""

        def __dlpack__(self, **options):
            grads.clear()
            return torch.ones(3).__dlpack__(**options)

        def __dlpack_device__(self):
            return (1, 0)

    grads[0] = Emptying()
    opt = fs.SGD([w], lr=1.0)
    before = w._version
    opt.step(grads)
    assert (w == -1).all()
    assert w._version > before
