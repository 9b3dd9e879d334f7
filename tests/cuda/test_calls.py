"""What is refused of the calls of an optimizer on a device, beside its arrays: scales, rows, what would
wait while a graph is captured, and a machine without a device.
"""

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from emulated_cuda import (
    CAPTURING,
    Fake,
    FakeDLPack,
    FakeLibrary,
    device_array,
    floats,
    image,
    refused,
    to_numpy,
)

pytestmark = pytest.mark.usefixtures("emulated")

READABLE = "a CUDA array (torch, CuPy, __cuda_array_interface__ or DLPack)"


@pytest.fixture
def opt():
    return fs.Adam(
        {"ok": device_array(floats(3)), "w": device_array(floats(2, 3))}, lr=0.1, ema_decay=0.5
    )


SCALE = "grad_scale: expected a number, or a CUDA array of one float32 or float64 on cuda:0, got "


def test_scales(opt):
    before = image(opt)
    grads = {"w": device_array(floats(2, 3))}
    for scale, error, got in (
        (device_array(np.int32(2)), ValueError, "int32 of shape () on cuda:0"),
        (device_array(floats(2)), ValueError, "float32 of shape (2,) on cuda:0"),
        (FakeDLPack(floats(1), device=1), ValueError, "float32 of shape (1,) on cuda:1"),
    ):
        refused(error, SCALE + got, opt.step, grads, grad_scale=scale)
    expected = "grad_scale: expected a number from 2**-126 to 2**126, got "
    refused(ValueError, f"{expected}0.0", opt.step, grads, grad_scale=0.0)
    refused(TypeError, f"{expected}'2'", opt.step, grads, grad_scale="2")
    assert image(opt) == before
    with pytest.raises(TypeError, match=r"^grad_scale: expected a number from"):
        fs.SGD(floats(3)).step(floats(3), grad_scale=device_array(np.float32(2)))


def test_rows(opt):
    before = image(opt)
    rows, which = device_array(floats(2, 3)), np.array([0, 1])
    one = "a one-dimensional array of int32 or int64"
    for indices, values, error, words in (
        (
            [[0], [1]],
            rows,
            TypeError,
            f"indices of 'w': expected {one}, got dtype int64 of 2 dimensions",
        ),
        (0, rows, TypeError, f"indices of 'w': expected {one}, got int"),
        (
            device_array(floats(2)),
            rows,
            TypeError,
            f"indices of 'w': expected {one}, got dtype float32 of 1 dimensions",
        ),
        (
            device_array(np.array([0, 2])),
            rows,
            IndexError,
            "indices of 'w': expected 0 <= index < 2, got 2 at position 1",
        ),
        (
            which,
            device_array(floats(3, 3)),
            ValueError,
            (
                "rows of 'w': expected float32, bfloat16 or float16 of shape (2, 3) in C order, "
                "got float32 of shape (3, 3)"
            ),
        ),
        (
            which,
            floats(2, 3),
            TypeError,
            f"rows of 'w': expected {READABLE}, got an array on the CPU (ndarray)",
        ),
    ):
        refused(error, words, opt.step_rows, "w", indices, values)
    assert image(opt) == before


def test_what_waits_is_refused_while_a_graph_is_captured(opt, monkeypatch):
    grads = {"w": device_array(floats(2, 3))}
    careful = fs.SGD({"w": device_array(floats(2, 3))}, error_if_nonfinite=True)
    skips = fs.SGD(
        {"w": device_array(floats(2, 3))}, lr=lambda step: 0.1 + step, skip_nonfinite=True
    )
    skips.step(grads)
    before = image(opt)
    monkeypatch.setattr(FakeLibrary, "current_stream", CAPTURING)
    for call, words in (
        (lambda: careful.step(grads), "cannot capture a step with error_if_nonfinite"),
        (lambda: skips.step(grads), "cannot read the step counters while a CUDA graph is captured"),
        (
            lambda: opt.step_rows("w", device_array(np.array([0])), device_array(floats(1, 3))),
            "indices of 'w' on the device: not possible while a CUDA graph is captured",
        ),
        (opt.state_dict, "a copy from the device: not possible while a CUDA graph is captured"),
    ):
        with pytest.raises(ValueError, match=f"^{words}"):
            call()
    opt.step(grads)  # this one is captured
    monkeypatch.undo()
    assert image(opt) != before
    assert opt.step_count == 1  # the played device ran it; a real one would not yet


def test_a_gradient_of_a_stream_outside_of_the_capture(opt, monkeypatch):
    """The captured stream would wait for what is no part of the graph, and the capture be lost."""
    monkeypatch.setattr(FakeLibrary, "current_stream", CAPTURING)
    before = [to_numpy(array).tobytes() for array in opt.params.values()]
    for stream in (1, 2, 7):
        grad = Fake(floats(2, 3), stream=stream)
        words = "expected an array from a stream that takes part in the capture, got one from a "
        refused(ValueError, f"gradient of 'w': {words}stream that does not", opt.step, {"w": grad})
    assert [to_numpy(array).tobytes() for array in opt.params.values()] == before
    opt.step({"w": Fake(floats(2, 3), stream=CAPTURING)})


def test_a_result_on_another_device(monkeypatch):
    def elsewhere(self, array, dtype):  # noqa: ARG001
        return FakeDLPack(np.zeros((), dtype), device=1)

    monkeypatch.setattr(FakeLibrary, "scalar", elsewhere)
    opt = fs.SGD({"w": device_array(floats(3))}, max_grad_norm=1.0)
    words = "applied: expected memory on cuda:0 like the parameters, got memory on cuda:1"
    refused(ValueError, words, opt.step, {"w": device_array(floats(3))})


def test_no_device(monkeypatch, emulated):
    monkeypatch.setattr(emulated, "device_count", lambda: 0)
    monkeypatch.setattr(emulated, "why_no_device", lambda: "no driver")
    refused(
        RuntimeError,
        "parameter 'w': expected a CUDA device for it (emulated_cuda.Fake on a CUDA device), "
        "got none: no driver",
        fs.Adam,
        {"w": device_array(floats(3))},
    )
    assert fs.show_config("dict")["cuda"] == "no device: no driver"


def test_a_module_that_does_not_load(monkeypatch):
    """Such as one whose toolkit's library is not here."""
    import importlib

    def fails(_):
        raise ImportError("libcudart.so: cannot open")

    monkeypatch.setattr(importlib, "import_module", fails)
    assert fs.show_config("dict")["cuda"] == (
        "its CUDA module does not load (libcudart.so: cannot open)"
    )


def test_same_bits_helper():
    assert same_bits(floats(3), to_numpy(device_array(floats(3), offset=12)))
