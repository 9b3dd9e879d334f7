"""Arrays that are resized, moved or given another dtype after an optimizer has seen them."""

import copy

import numpy as np
import pytest

import fusedstep as fs
from cases import every_rule
from optimizers import NAMES, needs_dlpack, refused, richest


def move(array):
    """Resize there and back, with the place that it had taken meanwhile."""
    size, place, blockers = array.size, array.ctypes.data, []
    while array.ctypes.data == place:
        array.resize(1 << 22, refcheck=False)
        array.resize(size, refcheck=False)
        blockers += [np.empty(size, array.dtype) for _ in range(100)]


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
def test_fault_35_arrays_changed_behind_our_back(rule, change, at):
    for role in ("parameter", "gradient of"):
        params, grads = ([np.arange(1.0, 8, dtype="float32") for _ in NAMES] for _ in range(2))
        opt = fs.create(rule, params, **richest(rule))
        opt.bind(grads)
        opt.step()
        change(params[at] if role == "parameter" else grads[at])
        words = f"{role} '{at}'", "expected the array as it was", "got one that was"
        with refused(opt, fs.ArrayChangedError, *words, untouched=grads):
            opt.step()


class Foreign:
    """An array of another library, which does something else before it says where its memory is."""

    __dlpack_device__ = np.ones(1).__dlpack_device__

    def __init__(self, array, deed=lambda: None):
        self.array, self.deed = array, deed

    def __dlpack__(self, **options):
        self.deed()
        return self.array.__dlpack__(**options)

    def data_ptr(self):
        self.deed()
        return self.array.ctypes.data


def block():
    return np.ones((1 << 10, 1 << 10), "float32")


# What foreign code does to an array that was looked at before: 4 MB, which malloc returns at once.
DEEDS = {
    "freed": lambda array: array.resize(0, refcheck=False),
    "smaller": lambda array: array.resize((1, 1 << 10), refcheck=False),
    "larger": lambda array: array.resize((1 << 11, 1 << 10), refcheck=False),
}
every_deed = pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)


@needs_dlpack
@every_deed
def test_fault_35_an_exporter_that_changes_another_gradient(deed):
    opt = fs.SGD([block() for _ in range(2)])
    for call in (opt.step, opt.bind, lambda grads: opt.step_mean([grads])):
        first = block()
        with refused(opt, fs.ArrayChangedError, "gradient of '0'", "expected the array as it was"):
            call([first, Foreign(block(), lambda: deed(first))])  # noqa: B023


@needs_dlpack
@every_deed
def test_fault_35_an_exporter_that_changes_a_parameter(deed):
    params = [block(), block()]
    opt = fs.SGD(params)
    with pytest.raises(fs.ArrayChangedError, match="parameter '0': expected the array as it was"):
        opt.step([block(), Foreign(block(), lambda: deed(params[0]))])
    assert opt.step_count == 0
    assert params[1].all()


@needs_dlpack
@every_deed
@pytest.mark.parametrize("rule", ["adam", "rowwiseadagrad"])
def test_fault_35_a_parameter_that_changes_other_arrays_when_it_is_asked(rule, deed):
    """The address of a foreign parameter is asked for in every step, others are looked at later."""
    first, foreign = block(), Foreign(block())
    opt = fs.create(rule, {"first": first, "foreign": foreign})
    grads = {"first": block(), "foreign": block()}
    ways = {
        "step": lambda: opt.step(grads),
        "zeroed": lambda: opt.step(grads, zero_grads=True),
        "mean": lambda: opt.step_mean([grads, grads]),
        "bound": lambda: (opt.bind(grads), opt.step()),
    }
    for way in ways.values():
        grads["first"] = block()
        foreign.deed = lambda: deed(grads["first"])
        with pytest.raises(
            fs.ArrayChangedError, match="gradient of 'first': expected the array as it was"
        ):
            way()
        opt.bind(None)
    rows = block()
    foreign.deed = lambda: deed(rows)
    with pytest.raises(fs.ArrayChangedError, match="rows of 'first': expected the array as it was"):
        opt.step_rows("first", np.arange(1 << 10), rows)
    assert first.all()
    assert grads["foreign"].all()
    grads["first"] = block()
    ways["rows"] = lambda: opt.step_rows("first", [0], block()[:1])
    for way in ways.values():
        foreign.deed = lambda: deed(first)
        with pytest.raises(
            fs.ArrayChangedError, match="parameter 'first': expected the array as it was"
        ):
            way()
        foreign.deed = lambda: None
        first.resize(1 << 10, 1 << 10, refcheck=False)
        opt = fs.create(rule, {"first": first, "foreign": foreign})
    assert opt.step_count == 0


# From NumPy 2.5 on.
@pytest.mark.filterwarnings("ignore:Setting the shape on a NumPy array:DeprecationWarning")
@needs_dlpack
def test_fault_35_rows_and_indices_that_change_each_other():
    first = block()
    opt = fs.SGD({"first": first})
    indices = np.arange(1 << 10)
    rows = Foreign(block(), lambda: indices.resize(1 << 12, refcheck=False))
    opt.step_rows("first", indices, rows)  # the indices were read before
    assert opt.step_count == 0
    turn = Foreign(block(), lambda: setattr(first, "shape", (1 << 11, 1 << 9)))
    with pytest.raises(
        fs.ArrayChangedError, match="parameter 'first': expected the array as it was"
    ):
        opt.step_rows("first", np.arange(1 << 10), turn)


@needs_dlpack
@every_deed
def test_a_parameter_that_changes_another_when_both_are_taken(deed):
    first = block()
    with pytest.raises(ValueError, match="parameter 'first': expected"):
        fs.Adam({"first": first, "foreign": Foreign(block(), lambda: deed(first))})


def test_bound_gradients_that_nobody_else_holds():
    opt = fs.SGD([np.zeros(1 << 18)], lr=1.0)
    opt.bind([np.full(1 << 18, 0.5)])
    poison = np.full(1 << 18, np.nan)
    opt.step()
    assert (opt.params["0"] == -0.5).all()
    del poison


# Arrays that the caller has replaced by others, of which the optimizer knows nothing.

REPLACED = {
    "mapping": ({"v": np.ones(2), "w": np.ones(3)}, lambda p, new: p.update(w=new), "w"),
    "list": ([np.ones(2), np.ones(3)], lambda p, new: p.__setitem__(1, new), "1"),
    "nest": (
        {"a": [np.ones(2), {"w": np.ones(3)}]},
        lambda p, new: p["a"][1].update(w=new),
        "a.1.w",
    ),
    "branch": ({"a": {"w": np.ones(3)}}, lambda p, new: p.update(a={"w": new}), "a.w"),
    "group": (
        [{"params": [np.ones(2)]}, {"params": {"w": np.ones(3)}, "lr": 0.1}],
        lambda p, new: p[1]["params"].update(w=new),
        "w",
    ),
}


def leaves(params):
    """The arrays of a nest, as gradients."""
    return [np.ones_like(array) for array in fs.SGD(params).params.values()]


@pytest.mark.parametrize("steps", [0, 1, 3])
@pytest.mark.parametrize("case", REPLACED)
def test_fault_34_an_array_that_was_replaced_is_named(case, steps):
    params, change, name = copy.deepcopy(REPLACED[case])
    grads = leaves(params)
    opt = fs.Adam(params)
    for _ in range(steps):
        opt.step(grads)
    change(params, np.ones(3))
    for _ in range(2):
        with refused(
            opt, fs.ArrayChangedError, f"parameter '{name}'", "the optimizer was given", "another"
        ):
            opt.step(grads)


def test_an_array_that_was_replaced_late_is_noticed_sooner_or_later():
    params = {"w": np.ones(3)}
    opt, late = fs.SGD(params, lr=0.0), 1000
    opt.bind({"w": np.ones(3)})

    def steps(count):
        for _ in range(count):
            opt.step()

    steps(late)
    params["w"] = np.ones(3)
    for count in (256, 1, 1):
        with pytest.raises(fs.ArrayChangedError, match="parameter 'w': expected the array that"):
            steps(count)


def test_an_array_that_was_replaced_is_noticed_when_a_state_was_loaded():
    params = {"w": np.ones(3)}
    opt = fs.SGD(params, lr=0.0)
    for _ in range(300):
        opt.step({"w": np.ones(3)})
    params["w"] = np.ones(3)
    opt.load_state_dict(opt.state_dict())
    with refused(opt, fs.ArrayChangedError, "parameter 'w'"):
        opt.step({"w": np.ones(3)})


@pytest.mark.parametrize(
    "change",
    [
        lambda p: p["nest"].pop("w"),
        lambda p: p["nest"].update(w=None),
        lambda p: p["nest"].update(w=p["nest"]["w"][:]),
        lambda p: p.update(nest=dict(p["nest"])),
        lambda p: p["nest"].update(other=np.ones(3)),
        lambda p: p["list"].insert(0, np.ones(2)),
        lambda p: p["list"].clear(),
        lambda p: p.clear(),
    ],
)
def test_fault_34_a_change_that_replaces_no_array(change):
    w, v = np.ones(3), np.ones(2)
    params = {"nest": {"w": w}, "list": [v]}
    opt = fs.SGD(params, lr=1.0)
    change(params)
    opt.step({"nest.w": np.ones(3), "list.0": np.ones(2)})
    assert not any(np.any(array) for array in (w, v))


def test_an_average_of_an_array_that_was_replaced():
    values = {"w": np.ones(3)}
    ema = fs.EMA(values)
    values["w"] = np.zeros(3)
    with pytest.raises(fs.ArrayChangedError, match="'w': expected the array that"):
        ema.update()
