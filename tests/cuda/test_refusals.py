"""What is refused of CUDA arrays: the class of the error, its words, and that nothing has moved."""

import re

import numpy as np
import pytest

import fusedstep as fs
from emulated_cuda import Fake, FakeDLPack, FakeLibrary, device_array, floats, image, refused

pytestmark = pytest.mark.usefixtures("emulated")


def locked(array):
    array.flags.writeable = False
    return array


def misaligned():
    raw = np.zeros(17, np.uint8)
    start = (-raw.ctypes.data) % 4 + 1
    return Fake(
        np.frombuffer(raw[start : start + 12].data, np.float32).copy(),
        data=(raw.ctypes.data + start, False),
    )


def address(array):
    return array.__cuda_array_interface__["data"][0]


class Raises:
    """Whose protocol is broken."""

    def __init__(self, error):
        self.error = error

    @property
    def __cuda_array_interface__(self):
        raise self.error


PARAMETERS = {
    "dtype": (
        lambda: device_array(np.arange(3)),
        TypeError,
        "expected dtype float32, float64, bfloat16 or float16, got int64",
    ),
    "byte order": (
        lambda: Fake(floats(3), typestr=">f4"),
        TypeError,
        "expected dtype float32, float64, bfloat16 or float16, got >f4",
    ),
    "read-only": (
        lambda: Fake(locked(floats(3))),
        ValueError,
        "expected a writeable array, got a read-only one",
    ),
    "gaps": (
        lambda: Fake(floats(4, 4)[:, ::2]),
        ValueError,
        "expected a contiguous array (its axes in any order), got shape (4, 2) with strides (16, 8)",
    ),
    "alignment": (
        misaligned,
        ValueError,
        "expected an aligned array (address divisible by 4), got an address 1 bytes off",
    ),
    "mask": (
        lambda: Fake(floats(3), mask=floats(3)),
        TypeError,
        "expected a CUDA array without a mask, got a masked one",
    ),
    "nowhere": (
        lambda: Fake(floats(3), data=(64, False)),
        ValueError,
        "expected memory on a CUDA device, got an address on no CUDA device (Fake)",
    ),
    "strides": (
        lambda: Fake(floats(3), strides=(4, 4)),
        TypeError,
        (
            "expected a CUDA array that can be viewed without a copy, got Fake "
            "(shape and strides differ in length)"
        ),
    ),
    "no data": (
        lambda: Fake(floats(3), data=None),
        TypeError,
        None,
    ),
}


@pytest.mark.parametrize("fault", PARAMETERS)
def test_parameters(fault):
    make, error, words = PARAMETERS[fault]
    with pytest.raises(error) as info:
        fs.Adam({"ok": device_array(floats(2)), "w": make()})
    text = str(info.value)
    if words is None:
        assert text.startswith("parameter 'w': expected a CUDA array that can be viewed without")
    else:
        assert text == f"parameter 'w': {words}"


def test_parameters_of_a_library_that_nobody_knows():
    class Stranger(Fake):
        pass

    library = FakeLibrary.takes
    try:
        FakeLibrary.takes = lambda self, array: type(array) is Fake  # noqa: ARG005
        refused(
            TypeError,
            "parameter 'w': expected an array of torch, CuPy or Numba, whose library allocates the "
            "state beside it, got Stranger",
            fs.Adam,
            {"ok": device_array(floats(2)), "w": Stranger(floats(3))},
        )
    finally:
        FakeLibrary.takes = library


def test_a_device_in_a_list_of_the_cpu_and_the_other_way_round():
    here, there = floats(3), FakeDLPack(floats(3))
    refused(
        TypeError,
        "parameter 'b': expected an array on the CPU like parameter 'a', "
        "got a CUDA array (emulated_cuda.FakeDLPack on cuda:0)",
        fs.Adam,
        {"a": here, "b": there},
    )
    refused(
        TypeError,
        "parameter 'b': expected an array on cuda:0 like parameter 'a', "
        "got one on the CPU (ndarray)",
        fs.Adam,
        {"a": there, "b": here},
    )
    opt = fs.Adam({"a": there})
    refused(
        TypeError,
        "parameter 'b': expected an array on cuda:0 like parameter 'a', "
        "got one on the CPU (ndarray)",
        opt.add_group,
        {"params": {"b": here}},
    )
    assert list(opt.params) == ["a"]
    refused(
        TypeError,
        "value 'b': expected an array on the CPU like value 'a', "
        "got a CUDA array (emulated_cuda.FakeDLPack on cuda:0)",
        fs.EMA,
        {"a": here, "b": there},
    )


def test_two_devices():
    a, b = FakeDLPack(floats(3)), FakeDLPack(floats(3), device=1)
    words = "parameter 'b': expected memory on cuda:0 like parameter 'a', got memory on cuda:1"
    empty = device_array(floats(0))
    refused(ValueError, words, fs.SGD, {"e": empty, "a": a, "b": b})
    opt = fs.SGD({"a": a})
    refused(ValueError, words, opt.add_group, {"params": {"b": b}})
    refused(
        ValueError,
        "gradient of 'a': expected memory on cuda:0 like its parameter, got memory on cuda:1",
        opt.step,
        {"a": b},
    )


GRADIENTS = {
    "cpu": (
        lambda: floats(2, 3),
        TypeError,
        "expected memory on cuda:0 like its parameter, got an array on the CPU (ndarray)",
    ),
    "cpu through DLPack": (
        lambda: FakeDLPack(floats(2, 3), kind=1),
        TypeError,
        "expected memory on cuda:0 like its parameter, got an array on the CPU (FakeDLPack)",
    ),
    "another accelerator": (
        lambda: FakeDLPack(floats(2, 3), kind=10),
        TypeError,
        "expected memory on cuda:0 like its parameter, got an array on DLPack device type 10",
    ),
    "no array": (
        lambda: [1.0],
        TypeError,
        "expected memory on cuda:0 like its parameter, got list",
    ),
    "dtype": (
        lambda: device_array(floats(2, 3, dtype=np.float64)),
        TypeError,
        "expected dtype float32, bfloat16 or float16 beside its parameter of float32, got float64",
    ),
    "shape": (
        lambda: device_array(floats(3, 2)),
        ValueError,
        "expected shape (2, 3) like its parameter, got (3, 2)",
    ),
    "order": (
        lambda: device_array(np.asfortranarray(floats(2, 3))),
        ValueError,
        (
            "expected a contiguous array in C order like its parameter, "
            "got shape (2, 3) with strides (4, 8)"
        ),
    ),
    "memory that is gone": (
        lambda: FakeDLPack(floats(2, 3), address=0),
        ValueError,
        (
            "expected memory on a CUDA device, "
            "got shape (2, 3) with strides (12, 4) without memory (has its storage been freed?)"
        ),
    ),
    "raises": (
        lambda: Raises(RuntimeError("gone")),
        TypeError,
        "expected a CUDA array that can be viewed without a copy, got Raises (gone)",
    ),
}


@pytest.fixture
def opt():
    return fs.Adam(
        {"ok": device_array(floats(3)), "w": device_array(floats(2, 3))}, lr=0.1, ema_decay=0.5
    )


@pytest.mark.parametrize("how", ["step", "bind", "step_mean", "functional"])
@pytest.mark.parametrize("fault", GRADIENTS)
def test_gradients(opt, fault, how):
    make, error, words = GRADIENTS[fault]
    before = image(opt)
    grads = {"ok": device_array(floats(3)), "w": make()}
    if how == "functional":
        states = [device_array(floats(2, 3) * 0) for _ in range(2)]
        subject, call = "gradient of 'param'", fs.functional.adam
        arguments = (device_array(floats(2, 3)), grads["w"], *states)
        refused(error, f"{subject}: {words}", call, *arguments, step=1)
    else:
        arguments = [grads, grads] if how == "step_mean" else grads
        refused(error, f"gradient of 'w': {words}", getattr(opt, how), arguments)
    assert image(opt) == before


def test_overlaps(opt):
    w = opt.params["w"]
    refused(
        ValueError,
        "gradient of 'w': expected memory of its own, got memory that overlaps parameter 'w'",
        opt.step,
        {"w": w},
    )
    refused(
        ValueError,
        "parameter '1': expected memory of its own, got memory that overlaps parameter '0'",
        fs.SGD,
        [w, Fake(w.memory[:1])],
    )
    grads = floats(6)
    refused(
        ValueError,
        "gradient of 'w': expected memory of its own, since zero_grads, got memory that overlaps "
        "gradient of 'ok'",
        opt.step,
        {"ok": Fake(grads[:3]), "w": Fake(grads.reshape(2, 3))},
        zero_grads=True,
    )
    refused(
        ValueError,
        "gradient of 'ok': expected a writeable array, got a read-only one",
        opt.step,
        {"ok": Fake(locked(floats(3)))},
        zero_grads=True,
    )


def test_memory_that_moved(opt):
    before = image(opt)
    opt.params["w"].changes["data"] = (address(device_array(floats(2, 3))), False)
    refused(
        fs.ArrayChangedError,
        "parameter 'w': expected the array as it was when it was handed over, got one that was "
        "resized, retyped or reallocated since",
        opt.step,
        {"w": device_array(floats(2, 3))},
    )
    opt.params["w"].changes = {"raises": RuntimeError("gone")}
    with pytest.raises(fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was"):
        opt.step({"w": device_array(floats(2, 3))})
    opt.params["w"].changes = {}
    assert image(opt) == before
    grad = device_array(floats(2, 3))
    opt.bind({"w": grad})
    grad.memory = grad.memory.copy()
    with pytest.raises(
        fs.ArrayChangedError, match=r"^gradient of 'w': expected the array as it was"
    ):
        opt.step()
    assert image(opt) == before


def test_working_copies():
    with pytest.raises(TypeError, match=re.escape("'w': expected dtype bfloat16 (or its bits as")):
        fs.SGD({"w": device_array(floats(3))}, working_copy={"w": device_array(floats(3))})
    bits = device_array(np.zeros(3, np.uint16))
    refused(
        TypeError,
        "working copy of 'w': expected a float32 parameter, got one of float64",
        fs.SGD,
        {"w": device_array(floats(3, dtype=np.float64))},
        working_copy={"w": bits},
    )
    fs.SGD({"w": device_array(floats(3))}, working_copy={"w": Fake(bits.memory, typestr="|V2")})
