"""Arrays that must be refused, and unusual ones that must be taken.

Every refusal is looked at three ways: its class, its words (which array, what was expected, what
came), and that no byte of parameters, gradients and state and no counter has moved.
"""

import ctypes
import itertools
import sys

import numpy as np
import pytest

import fusedstep as fs
from array_faults import (
    GRADIENT_FAULTS,
    PARAMETER_FAULTS,
    STATE_FAULTS,
    STATE_OF_ROWS_FAULTS,
    WAYS,
    Exporter,
)
from cases import LAYERWISE, ROWWISE, every_dtype, every_rule, same_bits, state_shape
from optimizers import (
    NAMES,
    OTHER,
    TAKES_DLPACK,
    complains,
    image,
    locked,
    numbers,
    refused,
    richest,
    running,
    same_everywhere,
    states_of,
)
from reference import reads


def functional(rule):
    return getattr(fs.functional, rule)


def zeros_for(rule, like):
    shape = state_shape(rule, like.shape)
    return [np.zeros(shape, like.dtype) for _ in states_of(rule, richest(rule))]


# What no gradient, parameter or state may be ---------------------------------------------------


@every_rule
@every_dtype
@pytest.mark.parametrize("fault", GRADIENT_FAULTS.values(), ids=GRADIENT_FAULTS)
def test_fault_01_02_03_04_06_07_in_a_gradient(rule, dtype, fault):
    opt = running(rule, dtype)
    good = numbers(4, dtype)
    for name in NAMES:
        bad = {**good, name: fault.spoil(good[name])}
        words = fault.words("gradient of", name, good[name])
        for call in WAYS.values():
            with refused(opt, fault.error, *words, untouched=[*good.values(), bad[name]]):
                call(opt, bad, good)
    param, bad, states = good["first"], bad["last"], zeros_for(rule, good["first"])
    before = [image(array) for array in (param, bad, *states)]
    with pytest.raises(fault.error) as caught:
        functional(rule)(param, bad, *states, step=1, **richest(rule))
    complains(caught, fault.error, *fault.words("gradient of", "param", param))
    assert [image(array) for array in (param, bad, *states)] == before


@pytest.mark.parametrize("fault", GRADIENT_FAULTS.values(), ids=GRADIENT_FAULTS)
def test_bad_gradient_in_a_list(fault):
    good = [*numbers(4, "float32").values()]
    opt = fs.Adam([array.copy() for array in good])
    for at in range(3):
        bad = [*good[:at], fault.spoil(good[at]), *good[at + 1 :]]
        words = fault.words("gradient of", at, good[at])
        for kind in (list, tuple):
            with refused(opt, fault.error, *words, untouched=bad):
                opt.step(kind(bad))
    assert opt.step_count == 0


@every_rule
@every_dtype
@pytest.mark.parametrize("fault", PARAMETER_FAULTS.values(), ids=PARAMETER_FAULTS)
def test_fault_03_04_05_06_07_in_a_parameter(rule, dtype, fault):
    good = numbers(1, dtype)
    for name in NAMES:
        params = {**good, name: fault.spoil(good[name])}
        before = [image(param) for param in params.values()]
        for arrangement in (params, [{"params": {n: params[n]}} for n in NAMES]):
            with pytest.raises(fault.error) as caught:
                fs.create(rule, arrangement)
            complains(caught, fault.error, *fault.words("parameter", name, good[name]))
        assert [image(param) for param in params.values()] == before
    states = zeros_for(rule, good["first"])
    with pytest.raises(fault.error) as caught:
        functional(rule)(params["last"], good["first"], *states, step=1, **richest(rule))
    complains(caught, fault.error, *fault.words("parameter", "param", good["last"]))
    assert [image(param) for param in params.values()] == before
    assert not any(state.any() for state in states)


@every_rule
def test_fault_01_02_03_04_05_06_07_in_a_state(rule):
    good = np.ones((3, 5), "float32")
    names = states_of(rule, richest(rule))
    for fault in (STATE_OF_ROWS_FAULTS if rule in ROWWISE else STATE_FAULTS).values():
        for at, name in enumerate(names):
            param, states = good.copy(), zeros_for(rule, good)
            words = fault.words(f"{name} of", "param", states[at])
            states[at] = fault.spoil(states[at])
            with pytest.raises(fault.error) as caught:
                functional(rule)(param, good, *states, step=1, **richest(rule))
            complains(caught, fault.error, *words)
            assert same_bits(param, good)
            assert not any(np.any(state) for state in states)
    for wrong in {*range(5)} - {len(names)}:
        with pytest.raises(TypeError, match=f"expected {len(names)} states .*, got {wrong}"):
            functional(rule)(good, good.copy(), *[good.copy()] * wrong, step=1, **richest(rule))


def test_lists_are_structure_and_numbers_no_arrays():
    with pytest.raises(
        TypeError, match=r"parameter 'w\.1\.0': expected a NumPy array .* got float"
    ):
        fs.SGD({"w": [np.ones(2), [1.0]]})


def test_a_refused_bind_keeps_what_was_bound():
    opt, control = running("adam", "float32"), running("adam", "float32")
    good = numbers(4, "float32")
    opt.bind(good)
    with refused(opt, ValueError, "gradient of 'last'"):
        opt.bind({**good, "last": good["last"].T})
    opt.step()
    control.step(good)
    assert all(same_bits(opt.params[name], control.params[name]) for name in NAMES)


# Memory that is not the array's own ------------------------------------------------------------

OVERLAPS = {
    "the same array": lambda base: [base[:12]] * 2,
    "the same memory": lambda base: (base[:12], base[:12].reshape(3, 4)),
    "one in the other": lambda base: (base[:12], base[4:8]),
    "one element": lambda base: (base[:12], base[11:]),
    "another dtype": lambda base: (base[:12], base[8:16].view(OTHER[base.dtype.name])),
}
IN_GROUPS = {
    "mapping": lambda params: params,
    "nested": lambda params: {n: {"": [param]} for n, param in params.items()},
    "groups": lambda params: [{"params": {n: param}} for n, param in params.items()],
}


@every_rule
@every_dtype
@pytest.mark.parametrize("overlap", OVERLAPS.values(), ids=OVERLAPS)
def test_fault_08_09_overlapping_parameters(rule, dtype, overlap):
    base = numbers(1, dtype, (24,))["first"]
    before = image(base)
    one, two = overlap(base)
    for arrays in [(one, two, np.ones(3)), (two, np.ones(3), one), (np.ones(3), one, two)]:
        shared = [name for name, a in zip(NAMES, arrays, strict=True) if np.shares_memory(a, base)]
        for arrange in IN_GROUPS.values():
            with pytest.raises(ValueError, match="parameter") as caught:
                fs.create(rule, arrange(dict(zip(NAMES, arrays, strict=True))))
            named = [f"parameter '{name}" for name in shared]
            complains(caught, ValueError, *named, "expected memory of its own, got", "overlaps")
    assert image(base) == before


@every_rule
@every_dtype
def test_fault_08_gradients_that_overlap_what_is_written(rule, dtype):
    base = numbers(1, dtype, (60,))["first"]
    params = {name: base[15 * i : 15 * i + 15] for i, name in enumerate(NAMES)}
    opt, good = fs.create(rule, params, **richest(rule)), numbers(2, dtype, (15,))
    opt.step({**good, "last": base[45:]})  # neighbours are no overlap
    for name in NAMES:
        for other, own in opt.state.items():
            written = {f"{state} of '{other}'": own[state] for state in own if state != "step"}
            for what, array in {f"parameter '{other}'": params[other], **written}.items():
                words = f"gradient of '{name}'", "expected memory of its own", f"overlaps {what}"
                for call in WAYS.values():
                    with refused(opt, ValueError, *words, untouched=[base]):
                        call(opt, {**good, name: array}, good)
    words = "gradient of 'middle'", "expected memory of its own", "overlaps parameter 'last'"
    with refused(opt, ValueError, *words, untouched=[base]):
        opt.step({**good, "middle": base[44:59]})


@every_rule
def test_fault_08_functional_arrays_that_overlap(rule):
    states = [f"{name} of" for name in states_of(rule, richest(rule))]
    roles = ["parameter", *states, "gradient of"]
    for i, j in itertools.combinations(range(len(roles)), 2):
        arrays, shared = [np.ones(15) for _ in roles], np.ones(29)
        arrays[i], arrays[j] = shared[:15], shared[14:]
        with pytest.raises(ValueError, match="expected memory of its own") as caught:
            functional(rule)(arrays[0], arrays[-1], *arrays[1:-1], step=1, **richest(rule))
        complains(caught, ValueError, f"{roles[i]} 'param'", f"{roles[j]} 'param'", "overlaps")
        assert all((array == 1).all() for array in arrays)


# Arrays that are taken as they are -------------------------------------------------------------


NATIVE = "<" if sys.byteorder == "little" else ">"


class Subclass(np.ndarray):
    """As np.matrix and np.memmap are: an ndarray by another name."""


def in_ctypes(a):
    kind = {"float32": ctypes.c_float, "float64": ctypes.c_double}[a.dtype.name]
    copy = np.ctypeslib.as_array((kind * a.size)()).reshape(a.shape)
    copy[...] = a
    return copy


TAKEN = {
    "Fortran order": np.asfortranarray,
    "rows of more": lambda a: np.concatenate([a, a])[: len(a)],
    "subclass": lambda a: a.view(Subclass),
    "ctypes": in_ctypes,
    "byte order spelled out": lambda a: a.view(a.dtype.newbyteorder(NATIVE)),
    **({"DLPack": Exporter} if TAKES_DLPACK else {}),
}


def three_steps(rule, params, grads_of):
    """One step each way."""
    opt = fs.create(rule, params, **richest(rule))
    opt.step(grads_of(2))
    opt.bind(grads_of(3))
    opt.step()
    opt.step_mean([grads_of(4), grads_of(5)])
    return opt


@every_rule
@every_dtype
@pytest.mark.parametrize("make", TAKEN.values(), ids=TAKEN)
def test_unusual_arrays_are_taken(rule, dtype, make):
    def plain(seed):
        return numbers(seed, dtype, (3, 4, 2))

    def made(seed):
        return {name: make(array) for name, array in plain(seed).items()}

    params = made(1)
    if make is np.asfortranarray and rule in ROWWISE:
        with pytest.raises(ValueError, match="'first': expected an array of rows in C order for"):
            fs.create(rule, params)
        return
    unusual = three_steps(rule, params, made)
    assert same_everywhere(unusual, three_steps(rule, plain(1), plain))
    assert all(unusual.params[name] is params[name] for name in NAMES)


@every_rule
@pytest.mark.parametrize("shape", [(1, 5, 1), (1, 1, 1), (5, 1), (1,)], ids=str)
def test_axes_of_length_one_have_no_order(rule, shape):
    def turned(array):
        return array.T.copy().T  # the same numbers with other strides

    def plain(seed):
        return numbers(seed, "float32", shape)

    def odd(seed):
        return {name: turned(array) for name, array in plain(seed).items()}

    expected = three_steps(rule, plain(1), plain)
    for params, grads in [(plain, odd), (odd, plain), (odd, odd)]:
        assert same_everywhere(three_steps(rule, params(1), grads), expected)


def test_fortran_parameters_want_fortran_gradients():
    opt = fs.Adam({"w": np.ones((2, 3), order="F")})
    with refused(opt, ValueError, "gradient of 'w'", "in Fortran order like its parameter", "got"):
        opt.step({"w": np.ones((2, 3))})
    opt.step({"w": np.ones((2, 3), order="F")})
    assert opt.step_count == 1


@every_rule
def test_fault_05_read_only_gradients_and_one_gradient_for_all(rule):
    shared = numbers(2, "float32")["first"]
    opt, control = running(rule, "float32"), running(rule, "float32")
    opt.step(dict.fromkeys(NAMES, locked(shared)))
    control.step({name: shared.copy() for name in NAMES})
    assert all(same_bits(opt.params[name], control.params[name]) for name in NAMES)


@every_rule
@pytest.mark.parametrize("name", NAMES)
def test_fault_05_a_parameter_locked_later(rule, name):
    opt, grads = running(rule, "float32"), numbers(4, "float32")
    opt.bind(grads)
    locked(opt.params[name])
    words = f"parameter '{name}'", "expected a writeable array", "got a read-only one"
    for call in (opt.step, lambda: opt.step(grads), lambda: opt.step_mean([grads])):
        with refused(opt, ValueError, *words, untouched=grads.values()):
            call()
    opt.params[name].setflags(write=True)
    opt.step()
    assert opt.step_count == 3


# NaN and infinity ------------------------------------------------------------------------------


@every_rule
@every_dtype
@pytest.mark.parametrize("strange", [np.nan, np.inf, -np.inf], ids=str)
def test_strange_numbers_stay_where_they_are(rule, dtype, strange):
    shape, at = (7, 19), ([0, 3, 6, 6], [0, 9, 17, 18])
    opt, control = running(rule, dtype, shape), running(rule, dtype, shape)
    grads = numbers(4, dtype, shape)
    control.step(grads)
    grads["last"][at] = strange
    opt.step(grads)
    mask = np.zeros(shape, bool)
    mask[at[0] if rule in ROWWISE else at] = True  # whose rows are one
    for name in NAMES if rule not in LAYERWISE else NAMES[:-1]:  # whose norm is theirs too
        mine = [opt.params[name], *list(opt.state[name].values())[1:]]
        theirs = [control.params[name], *list(control.state[name].values())[1:]]
        for a, b in zip(mine, theirs, strict=True):
            here = ~mask if name == "last" else np.ones_like(mask)
            here = here if a.shape == shape else here[:, 0]
            assert same_bits(a[here], b[here])
    # Where only its sign counts, an infinity makes a finite step: it is kept in the state, though
    # Rprop may drop it.
    if np.isnan(strange) or not reads(rule, "sign"):
        assert not np.isfinite(opt.params["last"][at]).any()
    elif rule != "rprop":
        _, *states = opt.state["last"].values()
        assert not all(np.isfinite(state[at]).all() for state in states)
    assert [own["step"] for own in opt.state.values()] == [3, 3, 3]
