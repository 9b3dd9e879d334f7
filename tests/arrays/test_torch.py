"""PyTorch's CPU tensors, those of a model among them."""

import numpy as np
import pytest

import fusedstep as fs
from cases import DTYPES, same_bits
from fusedstep import _autograd
from optimizers import NAMES, needs_dlpack, numbers, richest, running

torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
pytestmark = needs_dlpack


@pytest.mark.parametrize("rule", ["adam", "rowwiseadagrad"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("wrap", [lambda tensor: tensor, torch.nn.Parameter])
def test_tensors_are_stepped_in_place(rule, dtype, wrap):
    opt, grads = running(rule, dtype), numbers(4, dtype)
    leaves = {name: wrap(torch.from_numpy(array.copy())) for name, array in opt.params.items()}
    control = fs.create(rule, leaves, **richest(rule))
    control.load_state_dict(opt.state_dict())
    opt.step(grads)
    control.step({name: torch.from_numpy(array) for name, array in grads.items()})
    assert all(same_bits(leaves[n].detach().numpy(), opt.params[n]) for n in NAMES)
    assert all(control.params[name] is leaves[name] for name in NAMES)


def test_gaps_are_refused():
    with pytest.raises(ValueError, match="parameter 'w': expected a contiguous array"):
        fs.SGD({"w": torch.ones(3, 4)[:, ::2]})


def test_a_model_in_place_of_its_parameters():
    for call in (fs.Adam, lambda model: fs.Adam([{"params": model}]), fs.EMA):
        with pytest.raises(TypeError, match=r"got Linear: pass its \.parameters\(\)$"):
            call(torch.nn.Linear(2, 2))


def test_gradients_of_another_dtype_are_told_how_to_become_one():
    opt = fs.Adam({"w": torch.ones(3)})
    with pytest.raises(TypeError, match=r"got float64: use \.to\(torch\.float32\)$"):
        opt.step({"w": torch.ones(3, dtype=torch.float64)})


def test_steps_in_hooks_which_must_return_none():
    w = torch.ones(3, requires_grad=True)
    opt = fs.SGD({"w": w}, lr=1.0)

    def hook(p):
        opt.step({"w": p.grad})

    w.register_post_accumulate_grad_hook(hook)
    (2 * w).sum().backward()
    assert w.tolist() == [-1.0] * 3
    assert opt.step_count == 1


def model_and_data():
    torch.manual_seed(0)
    layers = torch.nn.Linear(5, 7), torch.nn.Tanh(), torch.nn.Linear(7, 2)
    return torch.nn.Sequential(*layers), torch.randn(64, 5), torch.randn(64, 2)


def losses(model, x, y, step):
    for _ in range(20):
        model.zero_grad()
        loss = torch.nn.functional.mse_loss(model(x), y)
        loss.backward()
        step()
        yield loss.item()


def test_a_model_trains_as_with_torch():
    mine, x, y = model_and_data()
    theirs, _, _ = model_and_data()
    opt = fs.Adam(mine.parameters(), lr=0.01)
    other = torch.optim.Adam(theirs.parameters(), lr=0.01)
    ours = list(losses(mine, x, y, lambda: opt.step([p.grad for p in mine.parameters()])))
    assert ours == pytest.approx(list(losses(theirs, x, y, other.step)), rel=1e-5)
    assert ours[-1] < ours[0]


def test_tensors_that_require_grad_can_be_anything():
    w, bias = torch.nn.Parameter(torch.ones(3)), torch.ones(3, requires_grad=True)
    ema = fs.EMA({"w": w}, decay=0.5, init="copy")
    grad = torch.full((3,), 2.0, requires_grad=True)  # as of backward(create_graph=True)
    opt = fs.SGD({"w": w, "b": bias}, lr=0.5, ema_decay=0.5)
    opt.bind({"w": grad})
    opt.step()
    opt.step_mean([{"w": grad, "b": grad}])
    opt.step_rows("b", np.array([0]), grad[:1])
    assert w.tolist() == [-1.0] * 3
    assert bias.tolist() == [-1.0, 0.0, 0.0]
    ema.update()
    assert ema["w"][0] == 0.0
    with opt.ema.swapped_in():
        assert w.tolist() == [-0.25] * 3
    fs.functional.sgd(w, grad, step=1, lr=1.0)
    assert w.tolist() == [-3.0] * 3


def test_named_parameters_and_indices_of_a_model():
    embedding = torch.nn.Embedding(4, 2)
    opt = fs.SGD(embedding.named_parameters(), lr=torch.tensor(0.5))
    assert opt.lr == 0.5
    before = embedding.weight.detach().clone()
    embedding(torch.tensor([1, 3])).sum().backward()
    opt.step_rows("weight", torch.tensor([3, 1]), embedding.weight.grad[[3, 1]])
    assert torch.equal(embedding.weight.detach(), before - 0.5 * embedding.weight.grad)
    with pytest.raises(
        TypeError, match=r"indices of 'weight': expected a one-dim.*got dtype float32"
    ):
        opt.step_rows("weight", torch.tensor([1.0]), torch.zeros(1, 2))


def test_fault_38_a_tensor_of_nothing():
    w, v = torch.nn.Parameter(torch.zeros(0, 3)), torch.ones(2)
    opt = fs.SGD({"w": w, "v": v}, lr=1.0)
    opt.step({"w": torch.zeros(0, 3), "v": torch.ones(2)})
    assert v.tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match=r"of 'w': expected shape \(0, 3\) .*, got \(3, 0\)"):
        opt.step({"w": torch.zeros(3, 0)})
    ema = fs.EMA({"w": w, "v": v}, decay=0.5)
    ema.update()
    opt = fs.Adam({"w": w, "v": v}, ema_decay=0.5, max_grad_norm=1.0)
    opt.step_mean([{"w": torch.zeros(0, 3), "v": torch.ones(2)}] * 2)
    opt.load_state_dict(opt.state_dict())


HANDED = {
    "generator": lambda model: model.parameters(),
    "pairs": lambda model: model.named_parameters(),
    "filtered": lambda model: (p for p in model.parameters() if p.requires_grad),
    "group": lambda model: [{"params": model.parameters(), "lr": 0.1}],
}


@pytest.mark.parametrize("handed", HANDED.values(), ids=HANDED)
@pytest.mark.parametrize("way", ["assign", "attribute", "module"])
def test_fault_34_a_model_whose_parameters_were_replaced(handed, way):
    model, x, _ = model_and_data()
    opt = fs.SGD(handed(model), lr=0.0)
    model(x).sum().backward()
    opt.step([p.grad for p in model.parameters()])
    last = model[len(model) - 1]
    if way == "assign":
        model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True)
    elif way == "attribute":
        last.weight = torch.nn.Parameter(last.weight.detach().clone())
    else:
        model[len(model) - 1] = torch.nn.Linear(last.in_features, last.out_features)
    model(x).sum().backward()
    with pytest.raises(
        fs.ArrayChangedError, match="expected the array that the optimizer was given"
    ):
        opt.step([p.grad for p in model.parameters()])


def test_a_model_whose_parameters_stay():
    """Other memory for the same parameter is another check's matter; other names are no matter."""
    model = model_and_data()[0]
    opt = fs.SGD(model.parameters(), lr=0.0)
    model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()})
    torch.nn.utils.parametrizations.weight_norm(model[0])
    model.register_parameter("extra", torch.nn.Parameter(torch.ones(2)))
    for _ in range(4):
        assert opt.step([torch.ones_like(p) for p in opt.params.values()])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("of", ["parameter", "gradient", "both"])
@pytest.mark.parametrize("subclass", [False, True])
def test_narrow_tensors(dtype, of, subclass):
    class Mine(torch.Tensor):  # with a dispatch of its own, which is not read in C
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            with torch._C._DisableTorchDispatch():
                return function(*args, **(kwargs or {}))

    def made(values, narrow):
        tensor = torch.tensor(values).to(dtype if narrow else torch.float32)
        return tensor.as_subclass(Mine) if subclass else tensor

    w = made([[0.5, 2.0], [-1.0, 8.0]], of != "gradient")
    g = made([[0.5, 0.25], [1.0, 0.0]], of != "parameter")
    opt = fs.SGD({"w": w}, lr=1.0)
    for _ in range(2):
        opt.step({"w": g})
    opt.bind({"w": g})
    opt.step()
    plain = w.as_subclass(torch.Tensor)
    assert plain.tolist() == [[-1.0, 1.25], [-4.0, 8.0]]
    assert plain.dtype is (torch.float32 if of == "gradient" else dtype)


def test_bits_of_bfloat16_are_no_numbers():
    bits = torch.zeros(3, dtype=torch.bfloat16).view(torch.int16)
    with pytest.raises(
        TypeError,
        match=r"^parameter 'w': expected dtype float32, float64, bfloat16 or float16, got int16$",
    ):
        fs.SGD({"w": bits})
    for w in (torch.zeros(3), torch.zeros(3, dtype=torch.bfloat16)):
        opt = fs.SGD({"w": w})
        for bad in (bits, bits.numpy(), bits.numpy().view(np.uint16)):
            with pytest.raises(
                TypeError,
                match="^gradient of 'w': expected dtype float32, bfloat16 or float16 beside its "
                rf"parameter of {str(w.dtype)[6:]}, got u?int16: use ",
            ):
                opt.step({"w": bad})


@pytest.mark.skipif(
    not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"),
    reason="torch before 2.10 describes nothing in C",
)
def test_a_step_makes_no_arrays_of_numpy(monkeypatch):
    model, x, y = model_and_data()
    opt = fs.Adam(model.parameters(), max_grad_norm=1.0)
    monkeypatch.setattr(np, "from_dlpack", None)
    monkeypatch.setattr(torch.Tensor, "data_ptr", None)
    for _ in losses(model, x, y, lambda: opt.step([p.grad for p in model.parameters()])):
        pass
    opt.step([p.grad for p in model.parameters()], zero_grads=True)
    assert not any(p.grad.any() for p in model.parameters())


# The version counters of autograd ----------------------------------------------------------------


def test_a_graph_from_before_the_step_is_an_error():
    model, x, _ = model_and_data()
    opt = fs.SGD(model.parameters())
    loss = model(x).sum()
    loss.backward(retain_graph=True)
    opt.step([p.grad for p in model.parameters()])
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def versions(*tensors):
    return [tensor._version for tensor in tensors]


@pytest.mark.parametrize("way", ["step", "bind", "mean", "scaled"])
def test_versions_count_what_was_written(way):
    a, b, c = (torch.nn.Parameter(torch.ones(2)) for _ in range(3))
    opt = fs.SGD({"a": a, "n": np.ones(2, np.float32), "b": b, "c": c})
    grads = {name: torch.ones(2) for name in "anc"}
    opt.freeze("c")
    if way == "bind":
        opt.bind(grads)
    steps = {
        "step": lambda: opt.step(grads),
        "bind": opt.step,
        "mean": lambda: opt.step_mean([grads, grads]),
        "scaled": lambda: opt.step(grads, grad_scale=2.0),
    }
    steps[way]()
    assert versions(a, b, c) == [1, 0, 0]
    opt.unfreeze("c")
    steps[way]()
    assert versions(a, b, c) == [2, 0, 1]


def test_versions_where_some_have_no_gradient():
    a, b = (torch.nn.Parameter(torch.ones(2)) for _ in range(2))
    opt = fs.SGD([a, b])
    grads = [torch.ones(2)] * 2
    for given in (grads, [None, grads[1]], grads, (grads[0], None)):
        opt.step(given)
    assert versions(a, b) == [3, 3]
    opt.bind([None, grads[1]])
    opt.step()
    opt.bind(grads)
    opt.step()
    opt.freeze("0")
    opt.step()
    opt.unfreeze("0")
    opt.step()
    assert versions(a, b) == [5, 7]


def test_versions_count_what_a_group_added_later_writes():
    w = torch.ones(2)
    opt = fs.SGD({"n": np.ones(2)})
    opt.add_group({"params": {"w": w}})
    opt.step({"n": np.ones(2)})
    assert versions(w) == [0]
    opt.step({"w": torch.ones(2)})
    assert versions(w) == [1]


def test_a_step_that_is_skipped_counts_nothing():
    w = torch.ones(2)
    opt = fs.SGD({"w": w}, skip_nonfinite=True)
    assert not opt.step({"w": torch.full((2,), np.nan)}).applied
    assert versions(w) == [0]
    assert opt.step({"w": torch.ones(2)}).applied
    assert versions(w) == [1]


def test_versions_count_all_other_writes():
    table, copy = torch.ones(3, 2), torch.zeros(3, 2, dtype=torch.bfloat16)
    opt = fs.SGD({"w": table, "v": torch.ones(1)}, working_copy={"w": copy}, ema_decay=0.5)
    opt.step_rows("w", np.array([1]), torch.ones(1, 2))
    assert versions(table, copy, opt.params["v"]) == [1, 2, 0]  # one at construction
    with opt.ema.swapped_in():
        assert versions(table) == [2]
    assert versions(table) == [3]
    fs.functional.sgd(table, torch.ones(3, 2), step=1)
    assert versions(table) == [4]


def test_arrays_of_numpy_have_no_version_counter():
    opt = fs.SGD([np.ones(2)])
    assert opt._engine.tensors is None


def test_a_torch_that_counts_one_tensor_at_a_time_or_none(monkeypatch):
    graph = torch.autograd.graph
    newest = graph.increment_version
    monkeypatch.setattr(graph, "increment_version", lambda tensor: newest([tensor.detach()]))
    _autograd._increment_version.cache_clear()
    try:
        pair = torch.ones(2), torch.ones(2)
        fs.SGD(pair).step([torch.ones(2)] * 2)
        assert versions(*pair) == [1, 1]
        monkeypatch.delattr(graph, "increment_version")
        _autograd._increment_version.cache_clear()
        fs.SGD(pair).step([torch.ones(2)] * 2)
        assert versions(*pair) == [1, 1]
    finally:
        _autograd._increment_version.cache_clear()
