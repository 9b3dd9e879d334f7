"""Arrays anywhere in memory, added in any order: those that overlap are found, and no others."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusedstep as fs

SIZE = 200
stretches = st.tuples(st.integers(0, SIZE - 1), st.integers(0, 12))
lists_of_stretches = st.lists(stretches, min_size=1, max_size=8)


def overlap(a, b):
    """Whether two stretches (start, length) share an element."""
    return max(a[0], b[0]) < min(a[0] + a[1], b[0] + b[1])


@given(lists=st.lists(lists_of_stretches, min_size=1, max_size=12))
def test_fault_08_groups_that_overlap_nothing_are_added(lists):
    base = np.zeros(SIZE + 12)
    opt = fs.SGD({"first": np.zeros(1)}, lr=1.0)
    added = {}
    for n, group in enumerate(lists):
        names = [f"{n}.{k}" for k in range(len(group))]
        arrays = {
            name: base[start : start + length]
            for name, (start, length) in zip(names, group, strict=True)
        }
        coming = dict(zip(names, group, strict=True))
        clashes = [
            {one, other}
            for one, own in coming.items()
            for other, theirs in {**added, **coming}.items()
            if one != other and overlap(own, theirs)
        ]
        if not clashes:
            opt.add_group({"params": arrays})
            added |= coming
            continue
        with pytest.raises(ValueError, match="expected memory of its own") as caught:
            opt.add_group({"params": arrays})
        assert any(all(f"'{name}'" in str(caught.value) for name in pair) for pair in clashes)
    assert set(opt.params) == {"first", *added}


@given(stretches=lists_of_stretches, shuffle=st.randoms())
def test_fault_08_gradients_to_be_zeroed(stretches, shuffle):
    base = np.ones(SIZE + 12)
    grads = [base[start : start + length] for start, length in stretches]
    shuffle.shuffle(grads)
    opt = fs.SGD([np.zeros(g.size) for g in grads], lr=1.0)
    clash = any(overlap(a, b) for i, a in enumerate(stretches) for b in stretches[:i])
    if clash:
        with pytest.raises(ValueError, match="expected memory of its own, since zero_grads"):
            opt.step(grads, zero_grads=True)
        assert base.all()
    else:
        opt.step(grads, zero_grads=True)
        assert base.sum() == base.size - sum(g.size for g in grads)


def test_many_arrays_in_any_order():
    """So many that work by pairs, or by what lies before each, would be felt."""
    count = 60_000
    rng = np.random.default_rng(0)
    params, grads = np.zeros((2, count, 2), np.float32)
    order = rng.permutation(count)
    opt = fs.SGD([params[i] for i in order], lr=1.0)
    grads[:] = 1
    opt.step([grads[i] for i in rng.permutation(count)], zero_grads=True)
    assert (params == -1).all()
    assert not grads.any()
