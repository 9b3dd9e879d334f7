"""What types and tensors may say of themselves in C: as no torch does, or another time otherwise."""

import numpy as np
import pytest

import dlpack_in_c
import fusedstep as fs
from dlpack_in_c import table_of, torch_table
from interpreters import python
from optimizers import complains, needs_dlpack

torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
pytestmark = [
    needs_dlpack,
    pytest.mark.skipif(
        not hasattr(torch.Tensor, "__dlpack_c_exchange_api__"),
        reason="torch before 2.10 describes nothing in C",
    ),
]


class Told(torch.Tensor):
    """Its attribute `told` has what it says in C otherwise than torch."""

    __torch_function__ = torch._C._disabled_torch_function_impl
    __dlpack_c_exchange_api__, table = torch_table(torch)


class Named(Told):
    dtype = "float32"


def told(values, kind=Told, **changes):
    tensor = torch.tensor(values).as_subclass(kind)
    tensor.told = changes
    return tensor


def ramp():
    return [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


@pytest.mark.parametrize("role", ["parameter", "gradient", "bound gradient"])
def test_c_order_may_be_said_without_strides(role):
    w = told(ramp(), strides=None) if role == "parameter" else np.array(ramp(), "float32")
    g = np.ones((2, 3), "float32") if role == "parameter" else told(ramp(), strides=None)
    opt = fs.SGD({"w": w}, lr=1.0)
    if role == "bound gradient":
        opt.bind({"w": g})
        opt.step()
    else:
        opt.step({"w": g})
    assert np.array_equal(opt.params["w"], np.array(ramp()) - np.asarray(g))


def test_strides_that_are_not_said_are_those_of_c_order():
    opt = fs.SGD({"w": np.asfortranarray(np.array(ramp(), "float32"))})
    with pytest.raises(
        ValueError, match=r"^gradient of 'w': expected a contiguous array in Fortran order"
    ):
        opt.step({"w": told(ramp(), strides=None)})


def strange(name):
    return torch.empty(4, dtype=getattr(torch, name))


STRANGE = {
    **{
        name: (lambda n=name: strange(n), f"torch.{name}")
        for name in ("float8_e4m3fn", "float4_e2m1fn_x2", "complex32", "complex64", "bool")
        if hasattr(torch, name)
    },
    "opaque": (lambda: told([1.0, 2.0], code=3), "torch.float32"),
    "pairs": (lambda: told([1.0, 2.0], lanes=2), "torch.float32"),
    "called otherwise": (lambda: told([1.0, 2.0], Named, code=3), "torch.float32"),
    "12 bits": (lambda: told([1.0, 2.0], bits=12), "torch.float32"),
}


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize(("made", "dtype"), STRANGE.values(), ids=STRANGE)
def test_dtypes_without_a_name_in_numpy(made, dtype):
    opt = fs.SGD({"w": np.ones(2, "float32")})
    for call, subject, expected in (
        (lambda: fs.SGD({"w": made()}), "parameter", "dtype float32, float64, bfloat16 or float16"),
        (lambda: opt.step({"w": made()}), "gradient of", "dtype float32, bfloat16 or float16"),
        (
            lambda: opt.step_rows("w", made(), np.ones(4, "float32")),
            "indices of",
            "a one-dimensional array of int32 or int64",
        ),
    ):
        with pytest.raises(TypeError) as caught:
            call()
        complains(caught, TypeError, f"{subject} 'w': expected {expected}", ", got ", dtype)


def test_a_tensor_that_says_it_is_elsewhere_is_asked_through_numpy():
    w = np.ones(2, "float32")
    fs.SGD({"w": w}, lr=1.0).step({"w": told([0.5, 0.25], device_type=2)})
    assert w.tolist() == [0.5, 0.75]


@pytest.mark.parametrize("changes", [None, {"lanes": 2}, {"ndim": 1}])
def test_a_parameter_that_describes_itself_otherwise_later(changes):
    w = told(ramp())
    opt = fs.SGD({"w": w})
    w.told = changes
    with pytest.raises(
        fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was when it was"
    ):
        opt.step({"w": np.ones((2, 3), "float32")})
    assert w.tolist() == ramp()
    w.told = {}
    opt.step({"w": np.ones((2, 3), "float32")})
    assert opt.step_count == 1


def test_ctrl_c_while_a_tensor_is_looked_at():
    class Interrupted(Told):
        def untyped_storage(self):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fs.SGD({"w": torch.ones(2).as_subclass(Interrupted)})


# Types ---------------------------------------------------------------------------------------------


def steps_well(kind):
    w = torch.ones(2).as_subclass(kind)
    opt = fs.SGD({"w": w}, lr=1.0)
    opt.step({"w": torch.ones(2).as_subclass(kind)})
    opt.bind({"w": torch.ones(2).as_subclass(kind)})
    opt.step()
    return w.as_subclass(torch.Tensor).tolist() == [-1.0, -1.0]


def newer(previous):
    return table_of(lambda tensor, out: -1, major=2, previous=previous)[0]  # noqa: ARG005


TABLES = {
    "no capsule": 3,
    "a capsule of something else": dlpack_in_c.capsule(1, b"another"),
    "only a newer one": newer(None),
    "only an older one": table_of(lambda tensor, out: -1, major=0)[0],  # noqa: ARG005
    "behind newer ones": newer(Told.table),
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_tables_of_other_versions(table):
    class Other(torch.Tensor):
        __torch_function__ = torch._C._disabled_torch_function_impl
        __dlpack_c_exchange_api__ = table

    assert steps_well(Other)


def test_many_types_that_describe_their_objects():
    for _ in range(12):
        assert steps_well(
            type("One", (Told,), {"__dlpack_c_exchange_api__": Told.__dlpack_c_exchange_api__})
        )


@pytest.mark.parametrize("hidden", ["is_neg", "__dict__"])
def test_a_type_that_hides_what_is_asked_of_it(hidden):
    class Hiding(type(torch.Tensor)):
        def __getattribute__(cls, name):
            if name == hidden:
                raise AttributeError(name)
            return super().__getattribute__(name)

    class Hidden(torch.Tensor, metaclass=Hiding):
        __torch_function__ = torch._C._disabled_torch_function_impl
        __dlpack_c_exchange_api__ = Told.__dlpack_c_exchange_api__

    assert steps_well(Hidden)
    negated = torch._neg_view(torch.ones(2)).as_subclass(Hidden)
    with pytest.raises(TypeError, match="its negative bit is set"):
        fs.SGD({"w": np.ones(2, "float32")}).step({"w": negated})


CURIOUS = """
import torch, fusedstep as fs

class Curious(type(torch.Tensor)):
    def __getattribute__(cls, name):
        if name == "__dlpack_c_exchange_api__" and not asked:
            asked.append(name)
            step()
        return super().__getattribute__(name)

class Twice(torch.Tensor, metaclass=Curious):
    __torch_function__ = torch._C._disabled_torch_function_impl
    __dlpack_c_exchange_api__ = torch.Tensor.__dlpack_c_exchange_api__

def step():
    w = torch.ones(2).as_subclass(Twice)
    fs.SGD({"w": w}, lr=1.0).step({"w": torch.ones(2).as_subclass(Twice)})
    print(w.as_subclass(torch.Tensor).tolist())

asked = []
step()
"""


def test_a_type_that_is_looked_at_while_it_is_looked_at():
    """In a process of its own, where there is room for what is known of its type."""
    done = python(CURIOUS)
    assert done.stdout == "[0.0, 0.0]\n" * 2, done.stderr


MODULES = {"without a class": "", "with another thing": "torch.Tensor = torch.nn = 3"}


@pytest.mark.parametrize("content", MODULES.values(), ids=MODULES)
def test_a_module_called_torch_that_is_not_torch(content):
    done = python(f"""
import sys, types
torch = sys.modules["torch"] = types.ModuleType("torch")
{content}
import numpy as np, fusedstep as fs
from array_faults import Exporter
w = Exporter(np.ones(2, "float32"))
fs.SGD({{"w": w}}, lr=1.0).step({{"w": Exporter(np.ones(2, "float32"))}})
print(w.array.tolist())
""")
    assert done.stdout == "[0.0, 0.0]\n", done.stderr


OTHER_LIBRARY = """
import numpy as np, fusedstep as fs
from array_faults import Exporter
from dlpack_in_c import table_of

def describe(array, out):
    return -1

class Own(Exporter):
    __dlpack_c_exchange_api__ = table_of(describe)[0]

w = Own(np.ones(2, "float32"))
fs.SGD({"w": w}, lr=1.0).step({"w": Own(np.ones(2, "float32"))})
print(w.array.tolist())
"""


@pytest.mark.parametrize("beside", ["", "import torch"])
def test_arrays_of_another_library_that_describe_themselves(beside):
    done = python(beside + OTHER_LIBRARY)
    assert done.stdout == "[0.0, 0.0]\n", done.stderr
