"""How device arrays are read: DLPack old and new, __cuda_array_interface__, and their streams."""

import numpy as np
import pytest

import fusedstep as fs
from emulated_cuda import (
    CAPTURING,
    Fake,
    FakeDLPack,
    FakeLibrary,
    device_array,
    floats,
    refused,
    versioned_capsule,
)

pytestmark = pytest.mark.usefixtures("emulated")


@pytest.fixture
def opt():
    return fs.SGD({"w": device_array(np.ones((2, 3), "float32"))}, lr=1.0)


def ones():
    return np.ones((2, 3), "float32")


def is_zero(opt):
    return not opt.params["w"].memory.any()


class Versioned(FakeDLPack):
    """Of DLPack 1."""

    def __init__(self, memory, major=1, flags=0, **changes):
        super().__init__(memory)
        self.major, self.flags, self.changes = major, flags, changes

    def __dlpack__(self, *, stream, max_version, copy):
        assert stream is not None
        assert max_version >= (1, 0)
        assert copy is False
        return versioned_capsule(self.memory, self.major, self.flags, **self.changes)


class Old(FakeDLPack):
    """Of before DLPack 1: it knows no other arguments."""

    def __dlpack__(self, *, stream=None):
        return super().__dlpack__(stream=stream)


class Answers(FakeDLPack):
    """With an answer of its own."""

    def __init__(self, answer):
        super().__init__(ones())
        self.answer = answer

    def __dlpack__(self, **_):
        if isinstance(self.answer, BaseException):
            raise self.answer
        return self.answer


@pytest.mark.parametrize("kind", [Versioned, Old])
def test_dlpack_of_each_version(opt, kind):
    opt.step({"w": kind(ones())})
    assert is_zero(opt)


def test_memory_that_the_device_manages(opt):
    opt.step({"w": FakeDLPack(ones(), kind=13)})
    assert is_zero(opt)


VIEW = "gradient of 'w': expected a CUDA array that can be viewed without a copy, got "
BESIDE = "gradient of 'w': expected dtype float32, bfloat16 or float16 beside its parameter of float32, got "
FAULTS = {
    "newer": (lambda: Versioned(ones(), 2), VIEW + "Versioned (requires DLPack <= 1; found 2)"),
    "copied": (
        lambda: Versioned(ones(), flags=2),
        VIEW + "Versioned (__dlpack__ returned a copy)",
    ),
    "no capsule": (lambda: Answers(3), VIEW + "Answers (__dlpack__ returned no DLPack capsule)"),
    "failing": (lambda: Answers(RuntimeError("gone")), VIEW + "Answers (gone)"),
    "pairs": (lambda: Versioned(ones(), lanes=2), BESIDE + "vectors of 2"),
    "complex": (lambda: Versioned(ones(), code=5, bits=64), BESIDE + "complex64"),
    "boolean": (lambda: Versioned(ones(), code=6, bits=8), BESIDE + "bool"),
    "code 99": (lambda: Versioned(ones(), code=99), BESIDE + "DLPack type code 99"),
    "pinned": (
        lambda: FakeDLPack(ones(), kind=3),
        (
            "gradient of 'w': expected memory on cuda:0 like its parameter, "
            "got an array on the CPU (FakeDLPack)"
        ),
    ),
}


@pytest.mark.parametrize(("made", "message"), FAULTS.values(), ids=FAULTS)
def test_what_dlpack_cannot_be(opt, made, message):
    refused(TypeError, message, opt.step, {"w": made()})


def test_ctrl_c_while_an_array_is_read(opt):
    with pytest.raises(KeyboardInterrupt):
        opt.step({"w": Answers(KeyboardInterrupt())})


class Both(FakeDLPack):
    """With both protocols; its interface says what DLPack before 1 cannot: that it is read-only."""

    @property
    def __cuda_array_interface__(self):
        return Fake(self.memory).__cuda_array_interface__


@pytest.mark.parametrize("read_only", [False, True])
def test_both_protocols(opt, read_only):
    memory = ones()
    memory.flags.writeable = not read_only
    if read_only:
        message = "gradient of 'w': expected a writeable array, got a read-only one"
        refused(ValueError, message, opt.step, {"w": Both(memory)}, zero_grads=True)
    else:
        opt.step({"w": Both(memory)}, zero_grads=True)
        assert is_zero(opt)
        assert not memory.any()


def test_a_read_only_array_of_dlpack_1_with_an_interface(opt):
    class New(Both, Versioned):
        pass

    message = "gradient of 'w': expected a writeable array, got a read-only one"
    refused(ValueError, message, opt.step, {"w": New(ones(), flags=1)}, zero_grads=True)


def test_an_interface_with_a_stream_is_taken_before_dlpack(opt):
    class Streamed(Both):
        @property
        def __cuda_array_interface__(self):
            return Fake(self.memory, stream=1).__cuda_array_interface__

        def __dlpack__(self, **options):
            raise AssertionError

    opt.step({"w": Streamed(ones())})
    assert is_zero(opt)


@pytest.mark.parametrize(("own", "theirs"), [(0, 1), (5, 7), (5, 1), (CAPTURING, CAPTURING + 1)])
def test_streams(opt, own, theirs, monkeypatch):
    """The last two are of one capture: another stream may take part in it."""
    monkeypatch.setattr(FakeLibrary, "current_stream", own)
    opt.step({"w": Fake(ones(), stream=theirs)})
    monkeypatch.undo()
    assert is_zero(opt)


def test_indices_on_the_device(opt):
    opt.step_rows("w", device_array(np.array([1, 0])), device_array(ones()))
    assert is_zero(opt)
    opt.step_rows("w", device_array(np.array([], np.int64)), device_array(floats(0, 3)))
    refused(
        ValueError,
        "indices of 'w': expected contiguous indices on the device, "
        "got shape (2,) with strides (16,)",
        opt.step_rows,
        "w",
        Fake(np.array([0, 9, 1, 9])[::2]),
        device_array(ones()),
    )


@pytest.mark.parametrize("kind", [list, tuple])
def test_listed_indices(opt, kind):
    opt.step_rows("w", kind([1, 0]), device_array(ones()))
    assert is_zero(opt)


def test_a_copy_of_another_size(emulated):
    with pytest.raises(ValueError, match="a value has its array's shape"):
        emulated.from_numpy(device_array(floats(3)), floats(4), 0)


def test_a_scale_on_the_device_through_dlpack(opt):
    opt.step({"w": device_array(2 * ones())}, grad_scale=FakeDLPack(np.array([2.0])))
    assert is_zero(opt)


def test_a_step_of_nothing():
    opt = fs.SGD(
        {"w": device_array(floats(0))},
        max_grad_norm=1.0,
        working_copy={"w": device_array(np.zeros(0, np.uint16))},
    )
    result = opt.step({"w": device_array(floats(0))}, grad_scale=device_array(np.float64(2)))
    assert result.grad_norm.memory == 0.0
    assert opt.step_count == 1
