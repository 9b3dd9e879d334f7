"""An optimizer that is saved to a file and loaded goes on to the bits of one that never stopped."""

import numpy as np
import pytest

import fusedstep as fs
from cases import ROWWISE, every_rule, same_bits
from narrow_modes import grid, ids, name_of, storage
from narrow_modes import numbers as narrow_numbers
from optimizers import numbers, refused, richest, running, same_everywhere

pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed (extra: test)")
long = pytest.mark.long
DTYPES = ("float32", "float64", "bfloat16", "float16")
SOME = {"float32-nearest-8bit", "bfloat16-split24-bfloat16", "float16-kahan-8bit"}
CASES = [
    pytest.param(*case, marks=[] if case[0] == "adamw" or name_of(case[2]) in SOME else long)
    for case in grid(sets=lambda rule: [richest(rule)])
]
SIZES = {"w": 700, "b": 7}
LATER = (4, 5, 6)  # the seeds of the gradients after the file


@every_rule
@pytest.mark.parametrize("dtype", DTYPES)
def test_fault_16_30_each_rule_goes_on(rule, dtype, tmp_path):
    straight, stopped = running(rule, dtype), running(rule, dtype)
    stopped.save(tmp_path / "a.safetensors", include_params=True)
    fs.checkpoint.save(tmp_path / "b.safetensors", opt=stopped)
    first, second = (fs.create(rule, numbers(9, dtype), **richest(rule)) for _ in range(2))
    first.load(tmp_path / "a.safetensors")
    saved = fs.load(tmp_path / "b.safetensors")
    saved.restore(second)
    second.step(numbers(8, dtype))
    saved.restore(second)  # as often as one likes
    for opt in (straight, stopped, first, second):
        for seed in LATER:
            opt.step(numbers(seed, dtype))
        assert same_everywhere(opt, straight)
    assert (saved.rule, saved.step_count, straight.step_count) == (rule, 2, 5)


@pytest.mark.parametrize(("rule", "options", "mode"), CASES, ids=ids(c.values for c in CASES))
def test_fault_16_each_way_to_store_goes_on(rule, options, mode, tmp_path):
    def make(seed):
        rng = np.random.default_rng(seed)
        start = {name: narrow_numbers(rng, size, mode["param"]) for name, size in SIZES.items()}
        return fs.create(rule, start, **{**options, **storage(mode)}, ema_decay=0.9, seed=seed)

    def step(opt, seed):
        rng = np.random.default_rng(seed)
        opt.step({name: narrow_numbers(rng, size, "bfloat16") for name, size in SIZES.items()})

    straight, path = make(1), tmp_path / "run.safetensors"
    for seed in (2, 3):
        step(straight, seed)
    straight.save(path, include_params=True)
    resumed = make(9)
    resumed.load(path)  # the seed of rounding with it
    assert same_everywhere(resumed, straight)
    for seed in LATER:
        step(straight, seed)
        step(resumed, seed)
    assert same_everywhere(resumed, straight)


ORDERS = {
    "F": np.asfortranarray,
    "channels_last": lambda a: np.ascontiguousarray(a.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
    "reversed axes": lambda a: np.ascontiguousarray(a.transpose(3, 1, 2, 0)).transpose(3, 1, 2, 0),
}


@pytest.mark.parametrize("state_dtype", ["float32", "bfloat16", "8bit"])
@pytest.mark.parametrize("order", ORDERS)
def test_any_order_of_the_axes(order, state_dtype, tmp_path):
    def arrays(seed):
        rng = np.random.default_rng(seed)
        return {"w": ORDERS[order](rng.standard_normal((4, 3, 8, 16)).astype(np.float32))}

    how = {"state_dtype": state_dtype, "min_8bit_size": 0, "ema_decay": 0.5}
    straight, resumed = (fs.Adam(arrays(seed), **how) for seed in (1, 9))
    for seed in (2, 3):
        straight.step(arrays(seed))
    straight.save(tmp_path / "a", include_params=True)
    resumed.load(tmp_path / "a")
    for seed in LATER:
        straight.step(arrays(seed))
        resumed.step(arrays(seed))
    assert same_everywhere(resumed, straight)
    saved = fs.load(tmp_path / "a")
    assert saved.params["w"].flags.c_contiguous
    in_c = fs.Adam({"w": np.zeros((4, 3, 8, 16), np.float32)}, **how)
    if state_dtype == "8bit":
        with refused(in_c, ValueError, "exp_avg of 'w'", "scales belong to blocks in memory"):
            saved.restore(in_c)
    else:
        saved.restore(in_c)
        assert same_bits(in_c.state["w"]["exp_avg"], saved.arrays["state.w.exp_avg"])


@every_rule
def test_empty_arrays_and_arrays_without_axes(rule, tmp_path):
    shapes = {"none": (0, 3), "w": (2, 3), "scalar": (), "last": (4, 0)}
    if rule in ROWWISE:
        del shapes["none"]

    def arrays(seed):
        rng = np.random.default_rng(seed)
        return {name: np.array(rng.standard_normal(s)) for name, s in shapes.items()}

    straight, resumed = (fs.create(rule, arrays(seed), **richest(rule)) for seed in (1, 9))
    straight.step(arrays(2))
    straight.save(tmp_path / "a", include_params=True, background=True)
    resumed.load(tmp_path / "a")
    for opt in (straight, resumed):
        opt.step(arrays(3))
    assert same_everywhere(resumed, straight)
    assert {n: a.shape for n, a in fs.load(tmp_path / "a").params.items()} == shapes


NAMES = ["encoder.0.w", "a b/ü", "__metadata__", "x" * 300, "\0\n\"'\\", "step", "state.w.step"]


def test_any_name(tmp_path):
    def arrays(seed):
        return numbers(seed, "float32", names=NAMES)

    straight, resumed = fs.Adam(arrays(1)), fs.Adam(arrays(9))
    straight.step(arrays(2))
    straight.save(tmp_path / "a", include_params=True)
    resumed.load(tmp_path / "a")
    for opt in (straight, resumed):
        opt.step(arrays(3))
    assert same_everywhere(resumed, straight)


def test_a_name_that_no_file_can_hold(tmp_path):
    opt = fs.Adam(numbers(1, "float32", names=["\ud800"]))
    for background in (False, True):
        with pytest.raises(ValueError, match=r"state.\\ud800.*: expected a name that UTF-8 can"):
            opt.save(tmp_path / "a", background=background)
    assert not [*tmp_path.iterdir()]


def test_parameters_only_where_wanted(tmp_path):
    opt = running("adam", "float32")
    opt.save(tmp_path / "without")
    opt.save(tmp_path / "with", include_params=True)
    assert not fs.load(tmp_path / "without").params
    for path, options, is_loaded in (
        ("with", {}, True),
        ("with", {"include_params": False}, False),
        ("without", {}, False),
    ):
        other = fs.Adam(numbers(9, "float32"), **richest("adam"))
        before = other.params["first"].copy()
        other.load(tmp_path / path, **options)
        assert same_bits(other.state["first"]["exp_avg"], opt.state["first"]["exp_avg"])
        expected = opt.params["first"] if is_loaded else before
        assert same_bits(other.params["first"], expected)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_tensors(dtype, tmp_path):
    torch = pytest.importorskip("torch", reason="torch is not installed (extra: peers)")

    def arrays(seed):
        generator = torch.Generator().manual_seed(seed)
        w = torch.randn(4, 3, 5, 6, generator=generator).to(getattr(torch, dtype))
        return {"w": w.to(memory_format=torch.channels_last), "b": w[0, 0].clone()}

    how = {"ema_decay": 0.5}
    straight, resumed = fs.AdamW(arrays(1), **how), fs.AdamW(arrays(9), **how)
    for seed in (2, 3):
        straight.step(arrays(seed))
    straight.save(tmp_path / "a", include_params=True)
    version = resumed.params["w"]._version
    resumed.load(tmp_path / "a")
    assert resumed.params["w"]._version > version  # autograd knows
    for opt in (straight, resumed):
        for seed in LATER:
            opt.step(arrays(seed))
    for name in straight.params:
        assert torch.equal(straight.params[name], resumed.params[name])
        for key, array in straight.state[name].items():
            assert np.array_equal(array, resumed.state[name][key])


def test_the_state_dict_of_a_checkpoint(tmp_path):
    opt, other = running("adam", "float32"), running("adam", "float32")
    opt.save(tmp_path / "a")
    opt.step(numbers(4, "float32"))
    saved = fs.load(tmp_path / "a").state_dict()
    assert saved.keys() == opt.state_dict().keys()
    opt.load_state_dict(saved)
    assert opt.step_count == other.step_count
    for name, own in other.state.items():
        assert all(same_bits(opt.state[name][key], own[key]) for key in own if key != "step")
