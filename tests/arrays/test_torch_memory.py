"""The memory of PyTorch's CPU tensors: whether they have any, and whether it is still there."""

import numpy as np
import pytest

import fusedstep as fs
from optimizers import needs_dlpack

torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
pytestmark = needs_dlpack


def resize(tensor):
    with torch.no_grad():
        tensor.requires_grad_(False).resize_(1 << 22)


EXCHANGES = {
    "resized": resize,
    "assigned": lambda tensor: setattr(tensor, "data", torch.zeros(1 << 20)),
    "freed": lambda tensor: tensor.untyped_storage().resize_(0),
}


def fake():
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.nn.Parameter(torch.zeros(4))


def distributed():
    from torch import distributed as dist
    from torch.distributed import device_mesh
    from torch.distributed.tensor import Shard, distribute_tensor

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        return distribute_tensor(
            torch.ones(4), device_mesh.init_device_mesh("cpu", (1,)), [Shard(0)]
        )
    finally:
        dist.destroy_process_group()


def wrapped():
    class Wrapper(torch.Tensor):
        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            return function(*(torch.ones(4) if isinstance(a, cls) else a for a in args))

    return torch.Tensor._make_wrapper_subclass(Wrapper, (4,), dtype=torch.float32)


class Logged(torch.Tensor):
    """A tensor with memory that is its own, and operations that are not."""

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return function(*args, **(kwargs or {}))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [fake, distributed, wrapped])
def test_fault_38_tensors_without_memory_of_their_own(make):
    tensor = make()
    named = f"'w': .* got {type(tensor).__name__} .it has no memory of its own"
    for take in (fs.SGD, lambda params: fs.EMA(params, decay=0.5)):
        with pytest.raises(TypeError, match=named):
            take({"w": tensor})


def test_a_subclass_with_memory_of_its_own():
    tensor = torch.Tensor._make_subclass(Logged, torch.ones(2, 2))
    opt = fs.SGD({"w": tensor}, lr=1.0)
    opt.step({"w": torch.ones(2, 2)})
    assert np.from_dlpack(tensor).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_a_tensor_with_code_of_its_own_whose_memory_was_exchanged():
    w = torch.Tensor._make_subclass(Logged, torch.ones(2))
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.step({"w": torch.ones(2)})
    w.data = torch.ones(2)
    with pytest.raises(fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was"):
        opt.step({"w": torch.ones(2)})


TURNS = {
    "in place": lambda tensor: tensor.t_(),
    "assigned": lambda tensor: setattr(tensor, "data", tensor.data.t()),
    "reshaped": lambda tensor: setattr(tensor, "data", tensor.data.view(4)),
}


@pytest.mark.parametrize("wrap", [lambda tensor: tensor, torch.nn.Parameter])
@pytest.mark.parametrize("turn", TURNS.values(), ids=TURNS)
def test_fault_38_a_tensor_that_was_turned_where_it_lies(turn, wrap):
    tensor = wrap(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    opt = fs.SGD([tensor], lr=1.0)
    grad, bound = torch.ones(2, 2), torch.ones(2, 2)
    opt.bind([bound])
    turn(bound)
    with pytest.raises(fs.ArrayChangedError, match="gradient of '0': expected the array as it was"):
        opt.step()
    with torch.no_grad():
        turn(tensor)
    with pytest.raises(fs.ArrayChangedError, match="parameter '0': expected the array as it was"):
        opt.step([grad])
    assert sorted(tensor.flatten().tolist()) == [1.0, 2.0, 3.0, 4.0]
    assert opt.step_count == 0


@pytest.mark.parametrize("wrap", [lambda tensor: tensor, torch.nn.Parameter])
@pytest.mark.parametrize("exchange", EXCHANGES.values(), ids=EXCHANGES)
def test_a_tensor_whose_memory_was_exchanged(exchange, wrap):
    tensor, grad = wrap(torch.ones(1 << 20)), torch.ones(1 << 20)
    opt = fs.SGD([tensor])
    opt.step([grad])
    exchange(tensor)
    with pytest.raises(fs.ArrayChangedError, match="parameter '0': expected the array as it was"):
        opt.step([grad])
    assert opt.step_count == 1


def test_a_model_whose_dtype_was_changed_later():
    model = torch.nn.Linear(3, 2)
    opt = fs.SGD(model.parameters())
    opt.bind([torch.ones_like(p) for p in model.parameters()])
    model.double()
    with pytest.raises(fs.ArrayChangedError, match="parameter '0': expected the array as it was"):
        opt.step()


def test_a_working_copy_whose_memory_was_exchanged():
    w = np.ones(3, np.float32)
    copy = torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))
    opt = fs.SGD({"w": w}, lr=1.0, working_copy={"w": copy})
    opt.step({"w": np.full_like(w, -1.0)})
    assert copy.tolist() == [2.0] * 3
    copy.data = torch.zeros(3, dtype=torch.bfloat16)
    with pytest.raises(
        fs.ArrayChangedError, match="working copy of 'w': expected the array as it was"
    ):
        opt.step({"w": np.ones_like(w)})


def test_a_working_copy_that_was_turned_where_it_lies():
    w, copy = torch.ones(2, 2), torch.zeros(2, 2, dtype=torch.bfloat16)
    opt = fs.SGD({"w": w}, lr=1.0, working_copy={"w": copy})
    copy.t_()
    with pytest.raises(
        fs.ArrayChangedError, match="working copy of 'w': expected the array as it was"
    ):
        opt.step({"w": torch.ones(2, 2)})
    assert w.tolist() == [[1.0, 1.0], [1.0, 1.0]]


class Foreign:
    """An array of another library, which once does something else when it is asked where it is."""

    __dlpack_device__ = np.ones(1).__dlpack_device__

    def __init__(self, deed=lambda: None):
        self.array, self.deed = np.ones(2, "float32"), deed

    def __dlpack__(self, **options):
        self.data_ptr()
        return self.array.__dlpack__(**options)

    def data_ptr(self):
        deed, self.deed = self.deed, lambda: None
        deed()
        return self.array.ctypes.data


@pytest.mark.parametrize("deed", [*EXCHANGES.values(), *TURNS.values()])
def test_fault_35_foreign_code_that_changes_a_tensor(deed):
    def grads():
        return {"w": torch.ones(2, 2), "other": np.ones(2, "float32")}

    def do(tensor):
        with torch.no_grad():
            deed(tensor)

    w, other = torch.ones(2, 2), Foreign()
    opt = fs.SGD({"w": w, "other": other}, lr=1.0)
    passed, bound = grads(), grads()
    other.deed = lambda: do(passed["w"])
    with pytest.raises(fs.ArrayChangedError, match="gradient of 'w': expected the array as it was"):
        opt.step(passed)
    other.deed = lambda: None
    with pytest.raises(fs.ArrayChangedError, match="gradient of 'w': expected the array as it was"):
        opt.bind({**bound, "other": Foreign(lambda: do(bound["w"]))})
    bound = grads()
    opt.bind(bound)
    other.deed = lambda: do(bound["w"])
    with pytest.raises(fs.ArrayChangedError, match="gradient of 'w': expected the array as it was"):
        opt.step(zero_grads=True)
    rows = torch.ones(2, 2)
    other.deed = lambda: do(rows)
    with pytest.raises(fs.ArrayChangedError, match="rows of 'w': expected the array as it was"):
        opt.step_rows("w", [0, 1], rows)
    assert (w == 1).all()
    other.deed = lambda: do(w)
    with pytest.raises(fs.ArrayChangedError, match="parameter 'w': expected the array as it was"):
        opt.step(grads())
    assert (other.array == 1).all()
    assert opt.step_count == 0
