"""Mini-batches as permutations, and their place as a state."""

import json
import logging

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import fusedstep as fs


@given(
    st.integers(1, 300), st.sampled_from([1, 2, 8, 32, 128]), st.integers(0, 2**70), st.booleans()
)
def test_an_epoch_is_a_permutation(n, size, seed, drop):
    assume(n >= size or not drop)
    batches = fs.data.MiniBatches(np.arange(n), batch_size=size, seed=seed, drop_last=drop)
    epoch = list(batches)
    assert len(epoch) == len(batches)
    assert [len(batch) for batch in epoch[:-1]] == [size] * (len(epoch) - 1)
    seen = np.concatenate(epoch)
    assert len(seen) == (n // size * size if drop else n)
    assert_array_equal(np.unique(seen), np.sort(seen))  # none twice
    # The order itself is a promise: PCG64 from child `epoch` of the seed.
    (child,) = np.random.SeedSequence(seed).spawn(1)
    order = np.random.Generator(np.random.PCG64(child)).permutation(n)
    assert_array_equal(seen, order[: len(seen)])


def test_arrays_stay_aligned_and_batches_are_copies():
    rng = np.random.default_rng(2024)
    x, y = rng.standard_normal((50, 3), np.float32), np.arange(50)
    for shuffle in (True, False):
        for features, labels in fs.data.MiniBatches(x, y, batch_size=16, shuffle=shuffle):
            assert features.dtype == np.float32
            assert_array_equal(features, x[labels])
            features[:] = np.nan
    assert np.isfinite(x).all()


def epochs_of(seed, first=0):
    batches = fs.data.MiniBatches(np.arange(100.0), seed=seed)
    batches.set_epoch(first)
    return batches


def test_epochs_differ_and_resume():
    batches, resumed = epochs_of(7), epochs_of(7, first=2)
    epochs = [np.concatenate(list(batches)) for _ in range(4)]
    assert batches.epoch == 4
    assert len({epoch.tobytes() for epoch in epochs}) == 4
    assert_array_equal(np.concatenate(list(resumed)), epochs[2])
    with pytest.raises(ValueError, match="epoch: expected an integer >= 0, got -1"):
        resumed.set_epoch(-1)
    assert repr(resumed) == (
        "MiniBatches(float64[100], batch_size=32, seed=7, drop_last=False, shuffle=True, epoch=3)"
    )
    # Seeds that differ above the 32nd bit are other seeds, whatever the epoch.
    assert not np.array_equal(np.concatenate(list(epochs_of(7 + 2**32))), epochs[1])


def test_two_iterators_are_two_epochs():
    batches = fs.data.MiniBatches(np.arange(64), batch_size=8)
    first, second = iter(batches), iter(batches)
    assert batches.epoch == 2  # taken by iter(), not by the first next()
    interleaved = np.array(list(zip(first, second, strict=True)))
    expected = fs.data.MiniBatches(np.arange(64), batch_size=8)
    assert_array_equal(interleaved[:, 0], list(expected))
    assert_array_equal(interleaved[:, 1], list(expected))


def test_the_batch_size_hint_is_logged(caplog):
    batches = fs.data.MiniBatches(np.arange(25), batch_size=10, shuffle=False)
    assert [batch.tolist() for batch in batches][-1] == [20, 21, 22, 23, 24]
    ((logger, level, message),) = caplog.record_tuples
    assert (logger, level) == ("fusedstep", logging.INFO)
    assert "batch_size 10 is not a power of two" in message
    assert "16 slots" in message
    caplog.clear()
    for size in (1, 2, 4, 8, 16, 25, 100):  # powers of two, and the whole set
        fs.data.MiniBatches(np.arange(25), batch_size=size)
    assert caplog.record_tuples == []


def batches_to_resume(**options):
    return fs.data.MiniBatches(np.arange(50.0), np.arange(50), **options)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("drop_last", [True, False])
def test_resumed_in_the_middle_of_an_epoch(shuffle, drop_last):
    options = {"batch_size": 16, "seed": 3, "shuffle": shuffle, "drop_last": drop_last}
    straight = batches_to_resume(**options)
    states, seen = [straight.state_dict()], []
    for _ in range(3):
        for batch in straight:
            seen.append(batch)
            states.append(json.loads(json.dumps(straight.state_dict())))
    for taken, state in enumerate(states):
        resumed = batches_to_resume(**options)
        resumed.load_state_dict(state)
        assert resumed.state_dict() == state
        assert resumed.epoch == taken // len(resumed)  # at the end of an epoch, the next one
        rest = [batch for _ in range(resumed.epoch, 3) for batch in resumed]
        assert len(rest) == len(seen) - taken
        for got, expected in zip(rest, seen[taken:], strict=True):
            assert_array_equal(got, expected)
        assert resumed.state_dict() == states[-1]


def test_the_state_is_of_the_iterator_created_last():
    batches = batches_to_resume()
    for _ in batches:
        break
    assert (batches.state_dict()["epoch"], batches.state_dict()["batch"]) == (0, 1)
    running = iter(batches)
    assert (batches.state_dict()["epoch"], batches.state_dict()["batch"]) == (1, 0)
    next(running)
    batches.set_epoch(7)
    next(running)  # of an epoch that set_epoch has left
    assert (batches.state_dict()["epoch"], batches.state_dict()["batch"]) == (7, 0)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"seed": 4}, ValueError, "seed: expected 3, got 4"),
        ({"n_samples": 51}, ValueError, "n_samples: expected 50, got 51"),
        ({"batch_size": 8, "shuffle": False}, ValueError, "batch_size: .* 16, got 8; shuffle: .*"),
        ({"drop_last": "False"}, ValueError, "drop_last: expected False, got 'False'"),
        ({"epoch": -1}, ValueError, "epoch: expected an integer >= 0, got -1"),
        ({"batch": 4}, ValueError, "batch: expected an integer from 0 to 3, got 4"),
        ({"batch": 1.0}, TypeError, "batch: .* got 1.0"),
        ({"batch": None, "seed": np.arange(2)}, ValueError, "seed: expected 3, got array.*"),
    ],
)
def test_a_state_that_does_not_fit_changes_nothing(change, error, message):
    batches = batches_to_resume(batch_size=16, seed=3)
    next(iter(batches))
    before = batches.state_dict()
    with pytest.raises(error, match=f"^MiniBatches: state: {message}"):
        batches.load_state_dict({**before, **change})
    for state, words in (([], "expected a mapping, got list"), ({"seed": 3}, "missing keys: n_s")):
        with pytest.raises((TypeError, ValueError), match=words):
            batches.load_state_dict(state)
    assert batches.state_dict() == before
    batches.load_state_dict({name: np.asarray(value)[()] for name, value in before.items()})
    assert batches.state_dict() == before


@pytest.mark.parametrize(
    ("lengths", "options", "error", "message"),
    [
        ([], {}, ValueError, r"arrays: .* got shapes \[\]"),
        ([3, ()], {}, ValueError, r"arrays: .* got shapes \[\(3,\), \(\)\]"),
        ([(3, 2), 4], {}, ValueError, r"equal lengths >= 1, got \[3, 4\]"),
        ([(0, 2)], {}, ValueError, r"equal lengths >= 1, got \[0\]"),
        ([3], {"batch_size": 0}, ValueError, "batch_size: .* >= 1, got 0"),
        ([3], {"batch_size": 2.0}, TypeError, "batch_size: .* got 2.0"),
        ([3], {"batch_size": True}, TypeError, "batch_size: .* got True"),
        ([3], {"shuffle": "False"}, TypeError, "shuffle: expected True or False, got 'False'"),
        ([3], {"drop_last": 0}, TypeError, "drop_last: expected True or False, got 0"),
        ([3], {"seed": -1}, ValueError, "seed: .* >= 0, got -1"),
        ([3], {"batch_size": 4, "drop_last": True}, ValueError, "at most 3 .* got 4"),
    ],
)
def test_minibatches_refuse(lengths, options, error, message):
    with pytest.raises(error, match=f"^MiniBatches: .*{message}"):
        fs.data.MiniBatches(*map(np.zeros, lengths), **options)
