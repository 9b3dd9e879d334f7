"""Where threads come from, and that they are good guests: started late, named, asleep, gone with the process."""

import shutil
import sys

import pytest

import fusedstep as fs
from interpreters import python
from native_programs import NATIVE, ROOT, compiled, lines_of
from preload import preloaded

SOURCES = ["pool", *["openmp"] * fs.show_config("dict")["openmp"]]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
can_fork = pytest.mark.skipif(sys.platform == "win32", reason="Windows does not fork")

HEAD = """
import glob, hashlib, os, signal, sys, threading, time, warnings
import numpy as np, fusedstep as fs
warnings.simplefilter("ignore")  # newer Pythons warn of threads at a fork
def large(n=1 << 20, **options):
    rng = np.random.default_rng(1)
    opt = fs.Adam({"w": rng.standard_normal(n).astype("f4")}, **options)
    opt.bind({"w": rng.standard_normal(n).astype("f4")})
    return opt
def digest(*optimizers):
    sha = hashlib.sha256()
    for opt in optimizers:
        for array in (opt.params["w"], *list(opt.state["w"].values())[1:]):
            sha.update(array.tobytes())
    return sha.hexdigest()
def ours(count=0):  # of threads, which name themselves as soon as they run
    deadline = time.monotonic() + 20
    while True:
        names = {}
        for file in glob.glob("/proc/self/task/*/comm"):
            name = open(file).read().strip()
            if name.startswith("fusedstep"):
                names[name] = os.path.dirname(file)
        if len(names) >= count or time.monotonic() > deadline:
            return names
"""


def output(code, source="pool"):
    done = python(HEAD + code, FUSEDSTEP_THREADING=source)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


# The same bits ----------------------------------------------------------------------------------

BITS = """
for threads in (1, 2, 3, 7):
    fs.set_num_threads(threads)
    done = [large(n, max_grad_norm=1.0, ema_decay=0.5) for n in (70_001, 1 << 20)]
    done.append(large(300_000))
    for opt in done:
        for _ in range(4):
            opt.step()
    lamb = fs.LAMB({"w": np.linspace(-1, 1, 400_003)})
    for _ in range(3):
        lamb.step({"w": np.linspace(1, -2, 400_003)})
    print(digest(*done, lamb))
"""


def test_the_same_bits_from_every_source_of_threads():
    digests = [line for source in SOURCES for line in output(BITS, source)]
    assert len(digests) == 4 * len(SOURCES)
    assert len(set(digests)) == 1


SIDE_BY_SIDE = """
fs.set_num_threads(3)
def run(opt):
    for _ in range(30):
        opt.step()
alone = [large(n) for n in (100_000, 1 << 20, 300_000)]
for opt in alone:
    run(opt)
beside = [large(n) for n in (100_000, 1 << 20, 300_000)]
threads = [threading.Thread(target=run, args=(opt,)) for opt in beside]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(digest(*alone) == digest(*beside))
"""


@pytest.mark.parametrize("source", SOURCES)
def test_steps_of_several_python_threads_side_by_side(source):
    assert output(SIDE_BY_SIDE, source) == ["True"]


TORCH = """
import torch
def model(seed=0):
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(300, 400), torch.nn.Tanh(), torch.nn.Linear(400, 300))
x, mine = torch.randn(64, 300), model()
copies = [p.detach().numpy().copy() for p in mine.parameters()]
opt, control = fs.Adam(mine.parameters()), fs.Adam(copies)
def train(steps):
    for _ in range(steps):
        mine.zero_grad()
        mine(x).square().sum().backward()
        opt.step([p.grad for p in mine.parameters()])
        control.step([p.grad.numpy() for p in mine.parameters()])
    return all((p.detach().numpy() == t).all() for p, t in zip(mine.parameters(), copies))
for threads in (2, 1, 3, 2):
    torch.set_num_threads(threads)
    fs.set_num_threads(min(threads, 2))
    print(train(30))
# torch's own threads do not survive a fork: it would hang in the child, where a step does not.
grads = [torch.ones_like(p) for p in mine.parameters()]
child = os.fork()
if child == 0:
    signal.alarm(60)
    for _ in range(3):
        opt.step(grads)
        control.step([g.numpy() for g in grads])
    print(all((p.detach().numpy() == t).all() for p, t in zip(mine.parameters(), copies)), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(train(3))
"""


@on_linux
def test_fault_22_steps_on_the_threads_of_torch():
    pytest.importorskip("torch", reason="torch is not installed (extra: peers)")
    assert output(TORCH) == ["True"] * 6


# Good guests ------------------------------------------------------------------------------------

LATE = """
fs.set_num_threads(3)
small = fs.Adam({"w": np.ones(1000, "f4")})
small.step({"w": np.ones(1000, "f4")})
print(*sorted(ours()))
opt = large()
opt.step()
print(*sorted(ours(2)))
blocked = [line.split()[1] for folder in ours().values() for line in open(folder + "/status")
           if line.startswith("SigBlk")]
print(all(int(mask, 16) >> (number - 1) & 1
          for mask in blocked for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)))
"""


@on_linux
def test_threads_start_when_they_are_needed_have_names_and_take_no_signals():
    assert output(LATE) == ["", "fusedstep-1 fusedstep-2", "True"]


ASLEEP = """
fs.set_num_threads(3)
opt = large()
for _ in range(20):
    opt.step()
before = time.process_time()
time.sleep(0.5)
print(time.process_time() - before)
"""


def test_fault_33_nobody_spins_after_a_step():
    """CPU time of the process, which nobody else's work counts in."""
    (seconds,) = output(ASLEEP)
    assert float(seconds) < 0.05


IN_CHILD = """
fs.set_num_threads(3)
opt, control = large(), large()
for _ in range(4):
    control.step()
opt.step()
child = os.fork()
if child == 0:
    signal.alarm(60)  # a hang is a death
    print(*sorted(ours()), flush=True)
    for _ in range(3):
        opt.step()
    print(*sorted(ours(2)), digest(opt) == digest(control), flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
for _ in range(3):
    opt.step()
print(digest(opt) == digest(control))
"""


@on_linux
def test_fault_21_a_forked_child_has_threads_of_its_own():
    assert output(IN_CHILD) == ["", "fusedstep-1 fusedstep-2 True", "True"]


WHILE_OTHERS_STEP = """
fs.set_num_threads(3)
busy, opt = large(1 << 22), large()
control = large()
for _ in range(2):
    control.step()
done = threading.Event()
def work():
    while not done.is_set():
        busy.step()
thread = threading.Thread(target=work)
thread.start()
right = 0
for _ in range(20):
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        for _ in range(2):
            opt.step()
        os._exit(0 if digest(opt) == digest(control) else 1)
    right += os.waitpid(child, 0)[1] == 0
done.set()
thread.join()
print(right)
"""


@can_fork
def test_fault_21_children_forked_beside_the_steps_of_another_thread():
    assert output(WHILE_OTHERS_STEP) == ["20"]


AT_EXIT = """
fs.set_num_threads(3)
opt = large(1 << 22)
opt.step()
if sys.argv[1:]:
    threading.Thread(target=lambda: [opt.step() for _ in range(1000)], daemon=True).start()
    time.sleep(0.05)
    os._exit(7)  # in the middle of a step
"""


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["in a step"], 7)])
def test_fault_40_the_process_ends_at_once(source, arguments, status):
    done = python(HEAD + AT_EXIT, *arguments, FUSEDSTEP_THREADING=source)
    assert (done.returncode, done.stderr) == (status, "")


# Fails every start of a thread but the first `allowed`, as where a limit of processes is reached.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
static int allowed = 1 << 30;
void shim_allow(int n) { allowed = n; }
typedef int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*f)(void *), void *x) {
  if (allowed-- <= 0) return EAGAIN;
  return ((create)dlsym(RTLD_NEXT, "pthread_create"))(t, a, f, x);
}
"""

NOT_STARTED = """
import ctypes
fs.set_num_threads(1)
control = large()
for _ in range(3):
    control.step()
ctypes.CDLL(None).shim_allow(int(sys.argv[1]))
fs.set_num_threads(4)
opt = large()
for _ in range(3):
    opt.step()
print(*sorted(ours(int(sys.argv[1]))), digest(opt) == digest(control))
"""


@pytest.mark.parametrize("allowed", [0, 1, 2])
def test_fault_40_threads_that_cannot_be_started_are_fewer_threads(tmp_path, allowed):
    shim = preloaded(tmp_path, SHIM, "cc")
    done = python(
        HEAD + NOT_STARTED, str(allowed), LD_PRELOAD=str(shim), FUSEDSTEP_THREADING="pool"
    )
    names = [f"fusedstep-{k}" for k in range(1, allowed + 1)]
    assert (done.returncode, done.stdout.split()) == (0, [*names, "True"]), done.stderr


def test_fault_40_openmp_has_fewer_threads_where_some_cannot_be_started(tmp_path):
    shim = preloaded(tmp_path, SHIM, "cc")
    code = NOT_STARTED.replace("*sorted(ours(int(sys.argv[1]))), ", "")
    done = python(HEAD + code, "0", LD_PRELOAD=str(shim), FUSEDSTEP_THREADING="openmp")
    if "since this build has no OpenMP" in done.stderr:
        pytest.skip("this build has no OpenMP")
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


def test_fault_40_openmp_with_stacks_too_small_for_any_code():
    code = "import fusedstep; print(fusedstep.show_config.__name__)"
    done = python(code, OMP_STACKSIZE="16k", FUSEDSTEP_THREADING="openmp")
    if "since this build has no OpenMP" in done.stderr:
        pytest.skip("this build has no OpenMP")
    words = "OMP_STACKSIZE: expected at least 64k with FUSEDSTEP_THREADING=openmp, got '16k'"
    assert done.returncode != 0
    assert words in done.stderr
    assert python(code, OMP_STACKSIZE="16k", FUSEDSTEP_THREADING="pool").returncode == 0


@on_linux
def test_affinity_is_the_limit():
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "import fusedstep as fs; print(fs.get_num_threads())"
    assert python(code, FUSEDSTEP_NUM_THREADS="", OMP_NUM_THREADS="").stdout == "1\n"


# The pool and the pace, in C++ ------------------------------------------------------------------


@pytest.mark.exhaustive  # 10 s: hundreds of thousands of orders
def test_every_order_of_the_pools_threads(tmp_path):
    """The pool's source, beside a sync.hpp whose threads are a scheduler's (tests/native/model)."""
    threads = shutil.copytree(ROOT / "cpp/threads", tmp_path / "threads")
    shutil.copytree(NATIVE / "model", threads, dirs_exist_ok=True)
    sources = [NATIVE / "pool_model.cpp", threads / "pool.cpp", threads / "model.cpp"]
    lines = lines_of(compiled(tmp_path, sources, "-I", tmp_path, "-I", ROOT / "cpp"))
    orders = {line.rsplit(": ")[0]: int(line.split()[-2]) for line in lines}
    assert len(orders) == 21
    assert all(
        orders[f"{s}, every order"] > 500 for s in ("one job", "jobs in a row", "two callers")
    )


def test_the_pool_has_no_data_race(tmp_path):
    sources = [NATIVE / "pool_stress.cpp", ROOT / "cpp/threads/pool.cpp"]
    program = compiled(tmp_path, sources, "-I", ROOT / "cpp", "-fsanitize=thread")
    assert lines_of(program) == ["6000 jobs"]


def test_fault_33_the_pace_finds_the_best_number_of_threads(tmp_path):
    """On machines that are made up: seconds a step over those of the best number of threads."""
    sources = [NATIVE / "pace.cpp", ROOT / "cpp/threads/pace.cpp", ROOT / "cpp/threads/process.cpp"]
    lines = lines_of(compiled(tmp_path, sources, "-I", ROOT / "cpp"))
    ratios = {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines}
    assert len(ratios) == 13
    # A stall in a thousand steps is worth it, and looks at times as if it were not.
    limits = {"seldom stalled": 1.3}
    assert {name: r for name, r in ratios.items() if r > limits.get(name, 1.03)} == {}
