"""A whole training in one file: data in the middle of an epoch, schedules, frozen names, your own numbers."""

import itertools

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from fusedstep.schedules import Constant, Cosine, Join, Plateau, Warmup
from optimizers import numbers, refused, same_everywhere

X = np.random.default_rng(0).standard_normal((50, 5)).astype(np.float32)
LATER = 20
POLICY = {"skip_nonfinite": True, "ema_decay": 0.9, "ema_bias_correction": True, "seed": 5}


def rates():
    """Of the three groups, two follow a metric, from within another schedule."""
    patient = Plateau(0.1, patience=0, factor=0.5)
    joined = Join([Constant(0.2), Plateau(0.05, patience=0, factor=0.5)], [4])
    return [Warmup(patient, 3), joined, Cosine(0.1, 40)]


class Run:
    """Gradients that depend on data, parameters and metrics."""

    def __init__(self, start, **policy):
        self.lrs = rates()
        self.params = numbers(start, "float32", shape=(5,), names="abc")
        groups = [
            {"params": {name: self.params[name]}, "lr": lr, "weight_decay": i / 8}
            for i, (name, lr) in enumerate(zip("abc", self.lrs, strict=True))
        ]
        self.opt = fs.AdamW(groups, **policy)
        self.batches = fs.data.MiniBatches(X, batch_size=8, seed=3)
        self.stream = itertools.chain.from_iterable(itertools.repeat(self.batches))
        self.losses = []

    def go_on(self, steps):
        for x in itertools.islice(self.stream, steps):
            loss = float(np.abs(x @ self.params["a"]).mean())
            self.losses.append(loss)
            for plateau in (self.lrs[0].schedule, self.lrs[1].schedules[1]):
                plateau.update(loss)
            self.opt.step({name: x.mean(axis=0) + 0.1 * p for name, p in self.params.items()})

    def parts(self):
        return {"train": self.batches}


def same(a, b):
    return (
        same_everywhere(a.opt, b.opt)
        and all(same_bits(a.opt.ema[name], b.opt.ema[name]) for name in "abc")
        and [g.lr for g in a.opt.groups] == [g.lr for g in b.opt.groups]
        and a.opt.frozen == b.opt.frozen
        and a.batches.state_dict() == b.batches.state_dict()
    )


@pytest.mark.parametrize("background", [False, True])
def test_fault_16_a_training_goes_on(background, tmp_path):
    straight, resumed = Run(1, **POLICY), Run(9, ema_decay=0.5)
    resumed.opt.freeze("a")
    straight.go_on(9)  # in the middle of the second epoch
    straight.opt.freeze("b")
    place = straight.batches.state_dict()
    assert 0 < place["batch"] < len(straight.batches)
    path = tmp_path / "run.safetensors"
    fs.checkpoint.save(path, opt=straight.opt, data=straight.parts(), background=background)
    result = fs.load(path).restore(resumed.opt, resumed.parts())
    assert result == ([], [])
    assert same(resumed, straight)
    assert resumed.opt.frozen == {"b"}
    for run in (straight, resumed):
        run.go_on(LATER)
    assert same(resumed, straight)
    assert resumed.losses == straight.losses[9:]
    nan = {name: np.full(5, np.nan, np.float32) for name in "abc"}
    assert not resumed.opt.step(nan).applied  # as skip_nonfinite says, which was not its own


def test_fault_30_saving_changes_nothing(tmp_path):
    quiet, saved = Run(1, **POLICY), Run(1, **POLICY)
    quiet.go_on(12)
    for i in range(12):
        saved.go_on(1)
        fs.checkpoint.save(
            tmp_path / "run", opt=saved.opt, data=saved.batches, background=i % 2 == 0
        )
        saved.opt.state_dict(flat=True)
    assert same(saved, quiet)


def test_what_the_constructor_said_gives_way(tmp_path):
    ours = fs.Adam(numbers(1, "float32"), lr=0.5, betas=(0.5, 0.75), max_grad_norm=2.0)
    ours.save(tmp_path / "a")
    opt = fs.Adam(numbers(1, "float32"), error_if_nonfinite=True)
    opt.load(tmp_path / "a")
    assert (opt.lr, opt.groups[0]["betas"], opt.groups[0]["max_grad_norm"]) == (
        0.5,
        (0.5, 0.75),
        2.0,
    )
    opt.step({name: np.full((3, 5), np.nan, np.float32) for name in opt.params})  # no error now


def test_several_data_and_one(tmp_path):
    def parts():
        average = fs.EMA({"w": np.ones(4)}, decay=0.5)
        return {"train": fs.data.MiniBatches(X, batch_size=8), "average": average}

    opt, first, second = fs.SGD({"w": np.ones(3)}), parts(), parts()
    next(iter(first["train"]))
    first["average"].update()
    fs.checkpoint.save(tmp_path / "a", opt=opt, data=first)
    fs.load(tmp_path / "a").restore(opt, second)
    assert second["train"].state_dict() == first["train"].state_dict()
    assert same_bits(second["average"]["w"], first["average"]["w"])
    fs.checkpoint.save(tmp_path / "b", opt=opt, data=first["train"])
    fs.load(tmp_path / "b").restore(opt)  # data may stay as they are
    for data in (second, {}, {"train": second["train"]}):
        with refused(opt, fs.CheckpointError, "data: expected ['']", "as they were saved"):
            fs.load(tmp_path / "b").restore(opt, data)


EXTRA = {
    "epoch": 3,
    "big": 2**80,
    "loss": [0.1, float("inf"), -float("inf"), -0.0, 5e-324],
    "none": None,
    "flags": (True, False),
    "text": "ü\n\ud800\0",
    "deep": {"a": [{"b": [[], {}, [1, [2]]]}]},
    "arrays": {
        "f2": np.arange(3, dtype=np.float16),
        "f8": np.array([[np.nan, -0.0]]),
        "i1": np.array(-3, np.int8),
        "u8": np.array([2**64 - 1], np.uint64),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "turned": np.arange(6).reshape(2, 3).T,
        "reversed": np.arange(6)[::-2],
    },
    "list": [np.zeros(2), {"x": np.ones(1)}],
    "scalars": [np.float32(0.1), np.int64(7), np.bool_(True), np.str_("x")],
}


def assert_same_nest(found, expected):
    if isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.tobytes() == expected.tobytes()
        assert found.shape == expected.shape
        assert not found.flags.writeable
    elif isinstance(expected, dict):
        assert [*found] == [*expected]
        for key, value in expected.items():
            assert_same_nest(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for a, b in zip(found, expected, strict=True):
            assert_same_nest(a, b)
    else:
        plain = expected.item() if isinstance(expected, np.generic) else expected
        assert type(found) is type(plain)
        assert repr(found) == repr(plain)


@pytest.mark.parametrize("background", [False, True])
def test_extra(background, tmp_path):
    opt = fs.SGD({"w": np.ones(3)})
    fs.checkpoint.save(tmp_path / "a", opt=opt, extra=EXTRA, background=background)
    assert_same_nest(fs.load(tmp_path / "a").extra, EXTRA)
    fs.checkpoint.save(tmp_path / "a", opt=opt)
    assert fs.load(tmp_path / "a").extra == {}


def test_extra_of_bfloat16(tmp_path):
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: test)")
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    fs.checkpoint.save(tmp_path / "a", opt=fs.SGD({"w": np.ones(3)}), extra={"a": array})
    saved = fs.load(tmp_path / "a")
    assert_same_nest(saved.extra["a"], array)
    assert_same_nest(saved.arrays["extra.a"], array)


SELF = []
SELF.append(SELF)
CANNOT = {
    "object": (object(), TypeError, "extra.x: expected numbers, strings"),
    "set": ({1}, TypeError, "extra.x: expected numbers, strings"),
    "bytes": (b"x", TypeError, "extra.x: expected numbers, strings"),
    "complex": (1j, TypeError, "extra.x: expected numbers, strings"),
    "function": (len, TypeError, "extra.x: expected numbers, strings"),
    "within": ([0, {"y": {1}}], TypeError, "extra.x.1.y: expected numbers, strings"),
    "keys": ({1: 2}, TypeError, "extra.x: expected strings as keys, got 1"),
    "a key of ours": ({"__array__": "x"}, TypeError, "extra.x: expected strings as keys"),
    "objects": (np.array([None]), TypeError, "extra.x: expected an array of numbers"),
    "texts": (np.array(["a"]), TypeError, "extra.x: expected an array of numbers"),
    "dates": (np.array(["2020"], "M8[D]"), TypeError, "extra.x: expected an array of numbers"),
    "complex ones": (np.zeros(2, complex), TypeError, "extra.x: expected an array of numbers"),
    "foreign bytes": (np.zeros(2, ">f4"), TypeError, "extra.x: expected an array of numbers"),
    "longdouble": (np.longdouble(1), TypeError, "extra.x: expected numbers, strings"),
    "itself": (SELF, ValueError, "extra: expected less deep nesting"),
    "one name": (
        {"a.b": np.ones(1), "a": {"b": np.ones(1)}},
        ValueError,
        "extra.x.a.b: expected names that differ also once they are joined by dots",
    ),
}


@pytest.mark.parametrize("background", [False, True])
@pytest.mark.parametrize("what", CANNOT)
def test_what_cannot_be_saved_is_named(what, background, tmp_path):
    value, error, words = CANNOT[what]
    opt = fs.SGD({"w": np.ones(3)})
    with refused(opt, error, words):
        fs.checkpoint.save(tmp_path / "a", opt=opt, extra={"x": value}, background=background)
    assert not [*tmp_path.iterdir()]
    opt.step({"w": np.ones(3)})  # nobody holds it


def test_a_header_that_nobody_could_read(tmp_path, monkeypatch):
    monkeypatch.setattr("fusedstep.checkpoint._layout.MAX_HEADER", 5_000)
    opt = fs.SGD({"w": np.ones(3)})
    fs.checkpoint.save(tmp_path / "a", opt=opt)
    with refused(opt, ValueError, "header: expected at most 5000 bytes, got", "lists do"):
        fs.checkpoint.save(tmp_path / "a", opt=opt, extra={"x": [*range(2_000)]})
    assert fs.load(tmp_path / "a").extra == {}
