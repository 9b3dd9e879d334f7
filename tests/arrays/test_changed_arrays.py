"""Arrays that are resized, moved or given another dtype after an optimizer has seen them: fault 15."""

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import NAMES, needs_dlpack, refused, richest


def move(array):
    """Resize there and back, with the place that it had taken meanwhile."""
    size = array.size
    array.resize(1 << 22, refcheck=False)
    blockers = [np.empty(size, array.dtype) for _ in range(100)]
    array.resize(size, refcheck=False)
    del blockers


CHANGES = {
    "larger": lambda array: array.resize(10_000, refcheck=False),
    "empty": lambda array: array.resize(0, refcheck=False),
    "moved": move,
    "int32": lambda array: setattr(array, "dtype", np.int32),
    "byte order": lambda array: setattr(array, "dtype", array.dtype.newbyteorder("S")),
}


# From NumPy 2.5 on.
@pytest.mark.filterwarnings("ignore:Setting the dtype on a NumPy array:DeprecationWarning")
@every_rule
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("at", range(3))
def test_arrays_changed_behind_our_back(rule, change, at):
    for role in ("parameter", "gradient of"):
        params, grads = ([np.arange(1.0, 8, dtype="float32") for _ in NAMES] for _ in range(2))
        opt = fs.create(rule, params, **richest(rule))
        opt.bind(grads)
        opt.step()
        change(params[at] if role == "parameter" else grads[at])
        words = f"{role} '{at}'", "expected the array as it was", "got one that was"
        with refused(opt, ValueError, *words, untouched=grads):
            opt.step()


@needs_dlpack
def test_an_exporter_that_frees_another_gradient():
    first = np.ones(1 << 20, "float32")

    class Freeing:
        __dlpack_device__ = np.ones(1).__dlpack_device__

        def __dlpack__(self, **kwargs):
            first.resize(0, refcheck=False)
            return np.ones(1 << 20, "float32").__dlpack__(**kwargs)

    opt = fs.SGD([np.ones(1 << 20, "float32") for _ in range(2)])
    for call in (opt.step, opt.bind, lambda grads: opt.step_mean([grads])):
        first.resize(1 << 20, refcheck=False)
        with refused(opt, ValueError, "gradient of '0'", "expected the array as it was"):
            call([first, Freeing()])


def test_bound_gradients_that_nobody_else_holds():
    opt = fs.SGD([np.zeros(1 << 18)], lr=1.0)
    opt.bind([np.full(1 << 18, 0.5)])
    poison = np.full(1 << 18, np.nan)
    opt.step()
    assert (opt.params["0"] == -0.5).all()
    del poison
