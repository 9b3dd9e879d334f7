"""Beside torch, in worker processes and in pools of threads."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import pytest

import fusedstep as fs
from cases import same_bits
from interpreters import python

SOURCES = ["pool", *["openmp"] * fs.show_config("dict")["openmp"]]
every_source = pytest.mark.parametrize("source", SOURCES)
SIZE = 300_000

# A step that is large enough for several threads, and what it must give.
HEAD = """
import hashlib, os, signal, sys, warnings
import numpy as np
warnings.simplefilter("ignore")  # newer Pythons warn of threads at a fork
def optimizer(fs, seed=0):
    rng = np.random.default_rng(seed)
    opt = fs.Adam({"w": rng.standard_normal(300_000).astype("f4")}, max_grad_norm=1.0)
    opt.bind({"w": rng.standard_normal(300_000).astype("f4")})
    return opt
def digest(opt):
    arrays = opt.params["w"], *list(opt.state["w"].values())[1:]
    return hashlib.sha256(b"".join(a.tobytes() for a in arrays)).hexdigest()
def digest_in_a_worker(fs, seed):
    signal.alarm(60)
    opt = optimizer(fs, seed)
    for _ in range(3):
        opt.step()
    return digest(opt)
"""


def output(code, *arguments, source="pool", **variables):
    done = python(HEAD + code, *arguments, FUSEDSTEP_THREADING=source, **variables)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@cache
def expected(steps, seed=0):
    code = "import fusedstep as fs\nopt = optimizer(fs, int(sys.argv[2]))\n"
    code += "for _ in range(int(sys.argv[1])): opt.step()\nprint(digest(opt))"
    return output(code, str(steps), str(seed), FUSEDSTEP_NUM_THREADS="1")


ORDERS = {
    "torch first": "import torch, fusedstep as fs",
    "fusedstep first": "import fusedstep as fs, torch",
    "torch between the steps": "import fusedstep as fs\noptimizer(fs).step()\nimport torch",
}
BESIDE_TORCH = """
signal.alarm(100)  # a hang is a death
fs.set_num_threads(2)
torch.set_num_threads(2)
a, opt = torch.ones(400, 400), optimizer(fs)
for _ in range(20):
    product = a @ a  # on the threads of torch
    opt.step()
assert (product == 400).all()
print(digest(opt))
print(fs.get_num_threads(), torch.get_num_threads())
"""


@pytest.mark.exhaustive  # seconds each: processes, torch
@every_source
@pytest.mark.parametrize("order", ORDERS.values(), ids=ORDERS)
def test_fault_22_torch_imported_before_and_after(source, order):
    pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    code = f"{order}\n{BESIDE_TORCH}"
    threads = str(min(2, fs.get_num_threads()))
    assert output(code, source=source) == [*expected(20), f"{threads} 2"]


# Worker processes --------------------------------------------------------------------------------

# What is started by spawn imports the file that it is in.
MODULE = f"""{HEAD}
import multiprocessing
import fusedstep as fs
parents = optimizer(fs)
def work(seed):
    return digest_in_a_worker(fs, seed)
if __name__ == "__main__":
    parents.step()
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(*pool.map_async(work, range(4)).get(90), sep="\\n")
    parents.step()
    print(digest(parents))
"""
LOADER = f"""{HEAD}
import fusedstep as fs, torch
class Data(torch.utils.data.Dataset):
    def __len__(self):
        return 4
    def __getitem__(self, seed):
        return digest_in_a_worker(fs, seed)
if __name__ == "__main__":
    parents = optimizer(fs)
    parents.step()
    loader = torch.utils.data.DataLoader(
        Data(), batch_size=None, num_workers=2, multiprocessing_context=sys.argv[1], timeout=90
    )
    for index, found in enumerate(loader):
        print(found)
        if index == 1:
            parents.step()
    print(digest(parents))
"""
METHODS = ["spawn"] if sys.platform == "win32" else ["fork", "spawn", "forkserver"]


@pytest.mark.exhaustive  # seconds each: processes, torch
@every_source
@pytest.mark.parametrize("method", METHODS)
def test_fault_21_multiprocessing(tmp_path, source, method):
    (tmp_path / "program.py").write_text(MODULE)
    code = f"import runpy; runpy.run_path({str(tmp_path / 'program.py')!r}, run_name='__main__')"
    found = output(code, method, source=source)
    assert found == [line for n in range(4) for line in expected(3, n)] + expected(2)


@pytest.mark.exhaustive  # seconds each: processes, torch
@pytest.mark.parametrize("method", METHODS[:2])
def test_fault_21_workers_of_torchs_data_loader(tmp_path, method):
    pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    (tmp_path / "program.py").write_text(LOADER)
    code = f"import runpy; runpy.run_path({str(tmp_path / 'program.py')!r}, run_name='__main__')"
    found = output(code, method)
    assert found == [line for n in range(4) for line in expected(3, n)] + expected(2)


# Pools of threads --------------------------------------------------------------------------------


def optimizers(count):
    rng = np.random.default_rng(1)
    found = []
    for _ in range(count):
        opt = fs.Adam({"w": rng.standard_normal(SIZE).astype("f4")}, max_grad_norm=1.0)
        opt.bind({"w": rng.standard_normal(SIZE).astype("f4")})
        found.append(opt)
    return found


def test_fault_23_eight_threads_with_an_optimizer_each():
    def work(opt):
        for _ in range(10):
            opt.step()

    beside, alone = optimizers(8), optimizers(8)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, beside))
    for opt in alone:
        work(opt)
    for one, other in zip(beside, alone, strict=True):
        assert same_bits(one.params["w"], other.params["w"])
        assert one.step_count == 10


def test_fault_23_eight_threads_with_one_optimizer():
    """Each step is made whole or refused."""
    (shared,), (control,) = optimizers(1), optimizers(1)
    made, refusals = [], set()

    def work(_):
        for _ in range(20):
            try:
                shared.step()
                made.append(1)
            except RuntimeError as error:
                refusals.add(str(error))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert refusals <= {"the optimizer is in use by another call"}
    assert shared.step_count == len(made) > 0
    for _ in made:
        control.step()
    for name, state in control.state["w"].items():
        assert np.all(shared.state["w"][name] == state)
    assert same_bits(shared.params["w"], control.params["w"])
