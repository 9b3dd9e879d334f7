"""What a user sees and sets: names, rates, groups, state, texts, threads, instruction sets."""

import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from cases import RULES, same_bits
from fusedstep import _core
from fusedstep._definition import registry


def test_ten_lines():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((256, 3))
    y = x @ [1.0, -2.0, 0.5] + 3.0
    params = {"w": np.zeros(3), "b": np.zeros(1)}
    opt = fs.Adam(params, lr=fs.schedules.Cosine(0.1, total_steps=500))
    for _ in range(500):
        error = x @ params["w"] + params["b"] - y
        opt.step({"w": x.T @ error / len(x), "b": error.mean(keepdims=True)})
    assert np.allclose(params["w"], [1.0, -2.0, 0.5], atol=1e-3)
    assert np.allclose(params["b"], 3.0, atol=1e-3)


def test_rules_are_found_by_name():
    assert fs.available() == sorted(registry)
    assert {"adam", "adamw"} <= set(fs.available("adam*")) <= set(fs.available("a*"))
    assert fs.available("nothing*") == []
    for rule in RULES:
        opt = fs.create(rule, np.zeros(3), lr=0.5)
        assert type(opt) is registry[rule]
        assert getattr(fs, type(opt).__name__) is registry[rule]
        assert opt.lr == 0.5
    with pytest.raises(ValueError, match=r"got 'adamm' .*; expected one of .*sgd, "):
        fs.create("adamm", np.zeros(3))


def test_every_compiled_rule_has_a_class():
    assert set(_core.rules()) - {"ema", "roofline"} == set(registry)


def test_learning_rate_is_a_number_or_a_schedule():
    w = np.array([1.0])
    opt = fs.SGD(w, lr=0.5)
    opt.lr = 0.25
    opt.step(np.array([1.0]))
    assert w[0] == 0.75
    assert opt.groups[0]["lr"] == opt.lr == 0.25
    opt.lr = lambda step: 0.1 * step
    assert opt.lr == 0.1  # the next step is the second
    opt.step(np.array([1.0]))
    assert w[0] == 0.75 - 0.1
    assert opt.lr == 0.2
    opt.lr = np.array(0.5, np.float32)
    assert opt.lr == 0.5
    assert type(opt.groups[0]["lr"]) is float


def test_groups_with_different_rates():
    a, b = np.ones(2), np.ones(2)
    opt = fs.SGD([{"params": {"a": a}}, {"params": {"b": b}, "lr": 0.5}], lr=0.1)
    with pytest.raises(ValueError, match=r"different rates \(.*\): read groups"):
        _ = opt.lr
    opt.step({"a": np.ones(2), "b": np.ones(2)})
    assert (a[0], b[0]) == (0.9, 0.5)
    opt.lr = 1.0
    opt.groups[0]["weight_decay"] = 0.5
    opt.step({"a": np.ones(2), "b": np.ones(2)})
    assert (a[0], b[0]) == (0.9 - (1 + 0.5 * 0.9), -0.5)
    assert [group.params for group in opt.groups] == [("a",), ("b",)]


def test_state_is_live():
    w = np.zeros(3, np.float32)
    opt = fs.Adam({"w": w})
    assert dict(opt.state)["w"].keys() == {"step", "exp_avg", "exp_avg_sq"}
    view = opt.state["w"]["exp_avg"]
    opt.step({"w": np.ones(3, np.float32)})
    assert view[0] == np.float32(1.0 - 0.9)
    assert opt.state["w"]["step"] == opt.step_count == 1
    assert opt.params["w"] is w
    with pytest.raises(KeyError):
        opt.state["v"]


def test_none_leaves_untouched_and_zeros_do_not():
    a, b = np.ones(2), np.ones(2)
    opt = fs.AdamW({"a": a, "b": b}, lr=0.1, weight_decay=0.5)
    opt.step({"a": np.zeros(2), "b": None})
    assert a[0] == 0.95
    assert b[0] == 1.0
    opt.step({"a": np.zeros(2)})
    assert [opt.state[name]["step"] for name in "ab"] == [2, 0]
    opt.step({}, allow_empty=True)
    assert opt.step_count == 3


def test_bound_gradients_are_read_anew():
    w, g = np.zeros(2), np.ones(2)
    opt = fs.SGD(w, lr=1.0)
    opt.bind(g)
    opt.step()
    g[:] = 2.0
    opt.step()
    assert w[0] == -3.0
    opt.step(np.full(2, 5.0))  # passed ones are for this step alone
    opt.step()
    assert w[0] == -10.0
    opt.bind(None)
    with pytest.raises(RuntimeError, match="bind"):
        opt.step()


def test_initial_accumulator_value():
    opt = fs.Adagrad({"w": np.zeros(3, np.float32)}, initial_accumulator_value=0.1)
    assert np.all(opt.state["w"]["sum"] == np.float32(0.1))


@pytest.mark.parametrize("rule", RULES)
def test_texts(rule):
    opt = fs.create(rule, {"w": np.zeros((2, 3))}, lr=fs.schedules.Constant(0.5))
    text = repr(opt)
    assert text.startswith(f"{type(opt).__name__}(1 arrays, 6 parameters, step 0, lr=Constant")
    assert all(f"{name}=" in text for name in opt.options)
    assert "weight_decay=0" in repr(opt.groups[0])
    assert "'w'" in repr(opt.state)


def test_config(capsys):
    config = fs.show_config("dict")
    assert json.loads(json.dumps(config)) == config
    assert config["isa"] == fs.isa() in config["available_isas"] == fs.available_isas()
    assert config["fusedstep"] == fs.__version__
    assert fs.show_config() is None
    printed = capsys.readouterr().out
    assert all(f"{name}:" in printed for name in config)
    with pytest.raises(ValueError, match="expected 'text' or 'dict', got 'xml'"):
        fs.show_config("xml")


def test_threads():
    fs.set_num_threads(3)
    with fs.num_threads(2):
        assert fs.get_num_threads() == 2
        with pytest.raises(ZeroDivisionError), fs.num_threads(5):
            _ = 1 / 0
        assert _core.requested_threads() == 2
    assert _core.requested_threads() == 3


def child(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout.splitlines()[-1]


def test_threads_from_the_environment():
    code = "import fusedstep as fs; print(fs.get_num_threads())"
    assert child(code, FUSEDSTEP_NUM_THREADS="5", OMP_NUM_THREADS="1") == "5"
    assert child(code, FUSEDSTEP_NUM_THREADS="", OMP_NUM_THREADS="1") == "1"
    usual = int(child(code, FUSEDSTEP_NUM_THREADS="", OMP_NUM_THREADS=""))
    assert usual <= len(os.sched_getaffinity(0))
    # There is no gain in more threads than CPUs unless somebody asks this library for them.
    assert int(child(code, FUSEDSTEP_NUM_THREADS="", OMP_NUM_THREADS="4096")) == usual


TRAIN = """
import hashlib, numpy as np, fusedstep as fs
digest = hashlib.sha256(fs.isa().encode() * 0)
for rule in fs.available():
    rng = np.random.default_rng(1)
    params = [rng.standard_normal(n).astype(t) for n in (100_003, 77) for t in ("f4", "f8")]
    opt = fs.create(rule, params, weight_decay=0.01)
    for _ in range(20):
        opt.step([rng.standard_normal(p.size).astype(p.dtype) for p in params])
    for array in params + [s for v in opt.state.values() for k, s in v.items() if k != "step"]:
        digest.update(array.tobytes())
print(fs.isa(), digest.hexdigest())
"""


def test_fault_19_every_forced_instruction_set_gives_the_same_bits():
    runs = [child(TRAIN, FUSEDSTEP_ISA=isa).split() for isa in fs.available_isas()]
    assert [isa for isa, _ in runs] == fs.available_isas()
    assert len({digest for _, digest in runs}) == 1


def test_options_that_keep_the_state_may_change():
    w, control = np.array([1.0]), np.array([1.0])
    opt = fs.SGD(w, lr=0.1, momentum=0.9)
    opt.groups[0]["nesterov"] = True
    other = fs.SGD(control, lr=0.1, momentum=0.9, nesterov=True)
    for grad in (np.array([0.5]), np.array([-0.25])):
        opt.step(grad)
        other.step(grad)
    assert w[0] == control[0]
    opt.groups[0]["nesterov"] = False
    with pytest.raises(ValueError, match="momentum cannot be changed to 0 after construction"):
        opt.groups[0]["momentum"] = 0.0


def test_gradient_sets_may_be_generated():
    w = np.zeros(2)
    fs.SGD(w, lr=1.0).step_mean((np.full(2, x) for x in (1.0, 3.0)), weights=iter([1, 3]))
    assert w[0] == -2.5


def test_average_names_its_values():
    ema = fs.EMA({"w": np.zeros(2)})
    with pytest.raises(ValueError, match=r"value of 'w': expected shape \(2,\) like its average"):
        ema.update({"w": np.zeros(3)})


def test_functional_wants_a_gradient():
    with pytest.raises(TypeError, match="gradient of 'param': expected an array, got None"):
        fs.functional.sgd(np.zeros(2), None, step=1)


@pytest.mark.skipif(not os.path.exists("/proc/cpuinfo"), reason="reads /proc/cpuinfo")  # noqa: PTH110
def test_instruction_sets_are_what_the_cpu_says():
    with open("/proc/cpuinfo") as file:  # noqa: PTH123
        flags = next((line.split() for line in file if line.startswith("flags")), [])
    if "sse2" in flags:
        expected = ["baseline"] + ["avx2"] * ("avx2" in flags) + ["avx512"] * ("avx512dq" in flags)
        assert fs.available_isas() == expected


def test_import_is_light():
    """Nothing but NumPy and the standard library comes in."""
    code = """
import sys, numpy
before = set(sys.modules)
import fusedstep
new = {name.split(".")[0] for name in set(sys.modules) - before} - set(sys.stdlib_module_names)
print(sorted(name for name in new if not name.startswith("_fusedstep_editable")))
"""
    assert child(code) in ("['fusedstep']", "['fusedstep', 'numpy']")


def test_fault_17_import_and_step_leave_the_fpu_alone():
    """Subnormals are computed before, in and after."""
    tiny = np.full(1_000, 1e-310)
    opt = fs.SGD(tiny, lr=0.5)
    opt.step(np.full(1_000, 2e-312))
    assert np.all(tiny == 1e-310 - 0.5 * 2e-312)
    assert np.float64(1e-310) / 2 > 0


def test_average():
    weights = {"a": np.ones(3, np.float32), "b": [np.full(2, 2.0)]}
    ema = fs.EMA(weights, decay=0.5, init="copy")
    assert list(ema) == ["a", "b.0"]
    weights["a"][:] = 3.0
    ema.update()
    assert ema["a"][0] == 2.0
    assert ema["b.0"][0] == 2.0
    ema.update({"a": np.full(3, 4.0, np.float32)})
    assert ema["a"][0] == 3.0
    assert "decay=0.5" in repr(ema)
    saved = ema.state_dict()
    other = fs.EMA(weights, decay=0.5)
    other.load_state_dict(saved)
    ema.update()
    other.update()
    assert all(same_bits(ema[name], other[name]) for name in ema)
    assert other.step_count == 3
    with pytest.raises(ValueError, match=r"decay: expected 0\.9, got 0\.5"):
        fs.EMA(weights, decay=0.9).load_state_dict(saved)
    with pytest.raises(
        TypeError, match=r"value 'a'.*expected dtype float32, float64, bfloat16 or float16, got int"
    ):
        fs.EMA({"a": np.zeros(3, int)})


def test_schedules_survive_pickle():
    schedule = fs.schedules.Cosine(0.1, total_steps=10)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
