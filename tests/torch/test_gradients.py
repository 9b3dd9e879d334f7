"""Gradients and parameters of every kind that torch has on the CPU."""

import copy

import pytest

torch = pytest.importorskip("torch")

import fusedstep.torch as ft


def pair(params, name="AdamW", **options):
    others = copy.deepcopy(params)
    return (
        others,
        getattr(ft, name)(params, **options),
        getattr(torch.optim, name)(others, **options),
    )


def assert_close(params, others, **tolerance):
    for param, other in zip(params, others, strict=True):
        torch.testing.assert_close(param, other, **tolerance)


def gap():
    return torch.randn(6, 5, 2)[..., 0]


LAYOUTS = {
    "Fortran order": lambda: torch.randn(5, 6).T,
    "channels last": lambda: torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
    "permuted": lambda: torch.randn(2, 3, 4).permute(2, 0, 1),
    "with gaps": gap,
    "expanded": lambda: torch.randn(3, 1).expand(3, 4).clone(),
    "no axes": lambda: torch.randn(()),
    "empty": lambda: torch.randn(0, 3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["SGD", "AdamW"])
def test_layouts_of_parameters(layout, name):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(LAYOUTS[layout]()), torch.nn.Parameter(torch.randn(3))]
    stride = params[0].stride()
    others, ours, theirs = pair(params, name)
    for i in range(4):
        for own, opt in ((params, ours), (others, theirs)):
            torch.manual_seed(i)
            for param in own:
                param.grad = torch.randn_like(param)
            opt.step()
    assert params[0].stride() == stride
    assert_close(params, others)


@pytest.mark.parametrize("layout", ["Fortran order", "channels last", "permuted", "with gaps"])
def test_gradients_that_lie_otherwise_than_their_parameters(layout):
    torch.manual_seed(0)
    like = LAYOUTS[layout]()
    params = [torch.nn.Parameter(torch.randn(like.shape))]
    others, ours, theirs = pair(params)
    for i in range(4):
        for own, opt in ((params, ours), (others, theirs)):
            torch.manual_seed(i)
            own[0].grad = LAYOUTS[layout]() if i != 2 else torch.randn(like.shape)
            opt.step()
    assert_close(params, others)


def test_a_convolution_in_channels_last():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Conv2d(8, 4, 3))
    model = model.to(memory_format=torch.channels_last)
    twin = copy.deepcopy(model)
    sides = [(model, ft.AdamW(model.parameters())), (twin, torch.optim.AdamW(twin.parameters()))]
    x = torch.randn(2, 3, 12, 12).to(memory_format=torch.channels_last)
    for net, opt in sides:
        for _ in range(4):
            opt.zero_grad()
            net(x).pow(2).mean().backward()
            opt.step()
    assert_close(list(model.parameters()), list(twin.parameters()))


def test_complex_parameters_and_conjugated_gradients():
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(4, 3, dtype=torch.complex64))]
    others, ours, theirs = pair(params)
    for i in range(4):
        for own, opt in ((params, ours), (others, theirs)):
            torch.manual_seed(i)
            grad = torch.randn(4, 3, dtype=torch.complex64)
            if i % 2:  # torch's own cannot read a conjugate
                grad = torch.conj(grad) if own is params else torch.conj(grad).resolve_conj()
            own[0].grad = grad
            opt.step()
    assert_close(params, others)
    assert ours.state[params[0]]["exp_avg"].dtype == torch.complex64


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_narrow_parameters_follow_float32_more_closely_than_torch(dtype):
    torch.manual_seed(0)
    start = torch.randn(1000)
    exact, ours_p, theirs_p = (
        torch.nn.Parameter(start.to(dtype).to(kind)) for kind in (torch.float32, dtype, dtype)
    )
    sides = [
        (exact, torch.optim.AdamW([exact], lr=0.01)),
        (ours_p, ft.AdamW([ours_p], lr=0.01)),
        (theirs_p, torch.optim.AdamW([theirs_p], lr=0.01)),
    ]
    for i in range(10):
        torch.manual_seed(i)
        grad = torch.randn(1000).to(dtype)
        for param, opt in sides:
            param.grad = grad.to(param.dtype)
            opt.step()
    far = [(p.float() - exact).norm() for p in (ours_p, theirs_p)]
    assert far[0] <= far[1]


def sparse(values, indices, size):
    return torch.sparse_coo_tensor(torch.tensor([indices]), values, size, check_invariants=True)


@pytest.mark.filterwarnings("ignore:Sparse invariant")  # of tensors that torch makes
@pytest.mark.parametrize(
    ("name", "options"),
    [("SGD", {}), ("SGD", {"momentum": 0.9}), ("Adagrad", {}), ("SparseAdam", {"eps": 1e-30})],
)
def test_sparse_gradients(name, options):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(10, 4))]
    others, ours, theirs = pair(params, name, **options)
    for i in range(6):
        for own, opt in ((params, ours), (others, theirs)):
            torch.manual_seed(i)
            # Uncoalesced: a row may have several.
            own[0].grad = sparse(torch.randn(3, 4), [i, 9 - i, i], (10, 4))
            opt.step()
    assert_close(params, others)


@pytest.mark.filterwarnings("ignore:Sparse invariant")
@pytest.mark.parametrize("layout", LAYOUTS)
def test_sparse_gradients_may_name_any_of_the_axes(layout):
    torch.manual_seed(0)
    params = [torch.nn.Parameter(LAYOUTS[layout]())]
    others, ours, theirs = pair(params, "SparseAdam", eps=1e-30)
    shape, count = params[0].shape, params[0].ndim
    for i, left_out in enumerate([0, 1, 0, 0, 2, 1]):
        for own, opt in ((params, ours), (others, theirs)):
            torch.manual_seed(i)
            grad = torch.randn(shape) * (torch.rand(shape) > 0.6)
            own[0].grad = grad.to_sparse(max(count - left_out, min(count, 1)))
            opt.step()
    assert_close(params, others)
    state, other = ours.state[params[0]], theirs.state[others[0]]
    for name in ("exp_avg", "exp_avg_sq"):
        torch.testing.assert_close(state[name], other[name])
    theirs.load_state_dict(ours.state_dict())
    ours.load_state_dict(copy.deepcopy(theirs.state_dict()))
    ours.step()
    theirs.step()
    assert_close(params, others)


@pytest.mark.filterwarnings("ignore:Sparse invariant")
@pytest.mark.parametrize(("name", "options"), [("Adagrad", {"lr_decay": 0.5}), ("SparseAdam", {})])
def test_a_sparse_gradient_without_entries_counts(name, options):
    params = [torch.nn.Parameter(torch.ones(10, 4)), torch.nn.Parameter(torch.ones(10, 4))]
    others, ours, theirs = pair(params, name, **options)
    for rows in ([[3, 7], [1]], [[], [1]], [[], []], [[3], []], [[7], [1, 3]]):
        for own, opt in ((params, ours), (others, theirs)):
            for param, named in zip(own, rows, strict=True):
                indices = torch.tensor([named], dtype=torch.int64)
                values = torch.full((len(named), 4), 0.5)
                param.grad = torch.sparse_coo_tensor(indices, values, (10, 4))
            opt.step()
        for a, b in zip(params, others, strict=True):
            assert ours.state[a]["step"] == theirs.state[b]["step"]
        assert_close(params, others)


def test_an_embedding_with_sparse_gradients_beside_dense_ones():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(50, 4, sparse=True), torch.nn.Linear(4, 2))
    twin = copy.deepcopy(model)
    sides = [
        (model, ft.SGD(model.parameters(), lr=0.1)),
        (twin, torch.optim.SGD(twin.parameters(), lr=0.1)),
    ]
    for net, opt in sides:
        for i in range(3):
            opt.zero_grad()
            net(torch.tensor([i, 7, 7, 30])).pow(2).sum().backward()
            opt.step()
    assert_close(list(model.parameters()), list(twin.parameters()))


def test_sparse_gradients_of_other_rules_are_refused():
    param = torch.nn.Parameter(torch.randn(10, 4))
    opt = ft.AdamW([param])
    param.grad = sparse(torch.randn(1, 4), [3], (10, 4))
    before = param.detach().clone()
    with pytest.raises(RuntimeError, match="does not support sparse gradients"):
        opt.step()
    assert torch.equal(param, before)


def test_dense_gradients_of_sparse_adam_are_refused():
    param = torch.nn.Parameter(torch.randn(10, 4))
    opt = ft.SparseAdam([param])
    param.grad = torch.ones(10, 4)
    with pytest.raises(RuntimeError, match="does not support dense gradients"):
        opt.step()


def test_gradients_come_and_go():
    torch.manual_seed(0)
    params = [torch.nn.Parameter(torch.randn(3)) for _ in range(4)]
    others, ours, theirs = pair(params)
    for i in range(12):
        for own, opt in ((params, ours), (others, theirs)):
            torch.manual_seed(i)
            for k, param in enumerate(own):
                param.grad = torch.randn(3) if (i + k) % 3 and k < 3 + i // 8 else None
            opt.step()
        for a, b in zip(params, others, strict=True):
            assert ours.state.get(a, {}).get("step") == theirs.state.get(b, {}).get("step")
    assert_close(params, others)


def test_frozen_parameters_have_no_state():
    params = [
        torch.nn.Parameter(torch.randn(3)),
        torch.nn.Parameter(torch.randn(3), requires_grad=False),
    ]
    opt = ft.AdamW(params)
    params[0].grad = torch.ones(3)
    opt.step()
    assert params[1] not in opt.state


def test_a_step_that_fails_changes_nothing():
    params = [torch.nn.Parameter(torch.randn(3)), torch.nn.Parameter(torch.randn(4))]
    opt = ft.AdamW(params, error_if_nonfinite=True)
    for param in params:
        param.grad = torch.ones_like(param)
    opt.step()
    params[1].grad[2] = float("inf")
    before = copy.deepcopy((params, dict(opt.state[params[0]])))
    with pytest.raises(FloatingPointError):
        opt.step()
    assert torch.equal(params[0], before[0][0])
    assert opt.state[params[0]]["step"] == 1


class Tagged(torch.Tensor):
    pass


def test_a_class_derived_from_tensor():
    params = [torch.nn.Parameter(torch.randn(3).as_subclass(Tagged))]
    plain = torch.nn.Parameter(params[0].detach().as_subclass(torch.Tensor).clone())
    opt, other = ft.AdamW(params), ft.AdamW([plain])
    for param, own in ((params[0], opt), (plain, other)):
        param.grad = torch.ones(3)
        own.step()
    assert torch.equal(params[0].as_subclass(torch.Tensor), plain)
