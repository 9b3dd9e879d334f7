"""Arrays of other libraries, which NumPy views through DLPack."""

import numpy as np
import pytest

import fusedstep as fs
from array_faults import BadExporter, Exporter
from interpreters import python
from optimizers import complains, needs_dlpack, numbers, refused, running

pytestmark = needs_dlpack


@pytest.mark.parametrize("error", [BufferError, AttributeError, RuntimeError])
def test_an_exporter_that_fails(error):
    opt, grads = running("adam", "float32"), numbers(4, "float32")
    bad = BadExporter(error("on purpose"))
    with refused(opt, TypeError, "gradient of 'middle'", "expected", "got", "BadExporter"):
        opt.step({**grads, "middle": bad})
    with pytest.raises(TypeError) as caught:
        fs.Adam({"w": bad})
    complains(caught, TypeError, "parameter 'w'", "expected", "got", "BadExporter")
    assert type(caught.value.__cause__) is error


def test_an_exporter_that_is_interrupted():
    with pytest.raises(KeyboardInterrupt):
        fs.SGD({"w": BadExporter(KeyboardInterrupt())})


def test_an_exporter_that_lends_only_copies_is_no_parameter():
    class Copier(Exporter):
        def __dlpack__(self, copy=None, **kwargs):
            if copy is False:
                raise BufferError("only copies")
            return self.array.copy().__dlpack__(**kwargs)

    with pytest.raises(TypeError, match="parameter 'w'"):
        fs.SGD({"w": Copier(np.ones(3))})


def test_an_exporter_that_empties_the_list_of_gradients():
    script = """
import numpy as np, fusedstep as fs

class Emptying:
    def __dlpack__(self, **kwargs):
        grads.clear()
        return np.ones(3).__dlpack__(**kwargs)
    __dlpack_device__ = np.ones(3).__dlpack_device__
opt = fs.SGD([np.ones(3) for _ in range(3)])
grads = [Emptying(), np.ones(3), np.ones(3)]
opt.step(grads)
print("alive")
"""
    done = python(script)
    assert (done.returncode, done.stdout.split()[-1:]) == (0, ["alive"]), done.stderr


@pytest.mark.parametrize("version", ["1.26.4", "2.0.2", "3.0.0"])
def test_a_numpy_that_cannot_view_without_a_copy(version, monkeypatch):
    monkeypatch.setattr(np, "__version__", version)
    w = np.ones(2, "float32")
    if version == "3.0.0":
        fs.SGD({"w": Exporter(w)}, lr=1.0).step({"w": Exporter(w.copy())})
        assert w.tolist() == [0.0, 0.0]
    else:
        with pytest.raises(
            TypeError,
            match=rf"^parameter 'w': .* Exporter \(requires NumPy >= 2.1; found {version}",
        ):
            fs.SGD({"w": Exporter(w)})


def test_an_exporter_whose_gradients_nobody_can_detach():
    class Followed(Exporter):
        requires_grad = True

    w = np.ones(2, "float32")
    fs.SGD({"w": Followed(w)}, lr=1.0).step({"w": Followed(w.copy())})
    assert w.tolist() == [0.0, 0.0]


def test_a_dtype_of_a_library_whose_conversion_nobody_knows():
    opt = fs.SGD({"w": np.ones(2, "float32")})
    with pytest.raises(TypeError, match=r"beside its parameter of float32, got float64$"):
        opt.step({"w": Exporter(np.ones(2))})


class Placed(Exporter):
    """It says where its memory is, as torch's tensors do."""

    def data_ptr(self):
        return self.array.ctypes.data


@pytest.mark.parametrize("size", [0, 3])
def test_an_exporter_whose_memory_was_exchanged(size):
    w = Placed(np.ones(size, "float32"))
    opt = fs.SGD({"w": w})
    opt.step({"w": np.ones(size, "float32")})
    w.array = np.ones(size, "float32")
    if size == 0:  # nothing lies anywhere
        opt.step({"w": np.ones(size, "float32")})
    else:
        with pytest.raises(
            fs.ArrayChangedError, match=r"^parameter 'w': expected the array as it was"
        ):
            opt.step({"w": np.ones(size, "float32")})


def test_an_empty_exporter_whose_address_is_null():
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    opt = fs.SGD({"w": Exporter(torch.zeros(0)), "v": np.ones(2)}, lr=1.0)
    opt.step({"w": Exporter(torch.zeros(0)), "v": np.ones(2)})
    assert opt.params["v"].tolist() == [0.0, 0.0]
