"""Adam against its peers, interleaved in one process.

    python bench/compare.py [--rounds 7] [--threads N]

Every contestant that is installed updates its own copy of the same arrays: a correctness gate
against float64 first, then rounds in turn (A B C A B C ...), each contestant in a stretch of its
own of at least 0.1 s, since thread pools spin on after their region and would steal the others'
cores. Reported are the median time a step, its spread over the rounds, and the ratio to fusedstep
round by round: absolute times on shared machines mean little. Arrays are as NumPy allocates them.
"""

import argparse
import importlib
import os
import statistics
import sys
import time

import numpy as np

import fusedstep as fs

BETA1, BETA2, EPS, LR = 0.9, 0.999, 1e-8, 1e-3
MLP = [(784, 128), (128,), (128, 64), (64,), (64, 10), (10,)]
CASES = {"10M parameters, one array": [(10_000_000,)], "MLP 784-128-64-10, 6 arrays": MLP}


def fusedstep(params, grads):
    opt = fs.Adam(params, lr=LR)
    opt.bind(grads)
    return opt.step


def fusedstep_passing_gradients(params, grads):
    opt = fs.Adam(params, lr=LR)
    return lambda: opt.step(grads)


def torch_fused(params, grads):
    torch = importlib.import_module("torch")
    tensors = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(grad)
    return torch.optim.Adam(tensors, lr=LR, fused=True).step


def deepspeed(params, grads):
    os.environ |= {"DS_ACCELERATOR": "cpu", "DS_SKIP_CUDA_CHECK": "1"}
    torch = importlib.import_module("torch")
    adam = importlib.import_module("deepspeed.ops.adam")
    tensors = [torch.nn.Parameter(torch.from_numpy(p)) for p in params]
    for tensor, grad in zip(tensors, grads, strict=True):
        tensor.grad = torch.from_numpy(grad)
    return adam.DeepSpeedCPUAdam(tensors, lr=LR, adamw_mode=False).step


def numba_parallel(params, grads):
    numba = importlib.import_module("numba")

    @numba.njit(parallel=True, fastmath=False)
    def update(p, g, m, v, step_size, root2, beta1, beta2, eps):
        one = np.float32(1)
        for i in numba.prange(p.size):
            m[i] = beta1 * m[i] + (one - beta1) * g[i]
            v[i] = beta2 * v[i] + (one - beta2) * g[i] * g[i]
            p[i] -= step_size * m[i] / (np.sqrt(v[i]) / root2 + eps)

    flat = [(p.reshape(-1), g.reshape(-1)) for p, g in zip(params, grads, strict=True)]
    state = [(np.zeros_like(p), np.zeros_like(p)) for p, _ in flat]
    t, f = 0, np.float32

    def step():
        nonlocal t
        t += 1
        step_size, root2 = f(LR / (1 - BETA1**t)), f((1 - BETA2**t) ** 0.5)
        for (p, g), (m, v) in zip(flat, state, strict=True):
            update(p, g, m, v, step_size, root2, f(BETA1), f(BETA2), f(EPS))

    return step


def numpy_textbook(params, grads):
    state = [[np.zeros_like(p), np.zeros_like(p)] for p in params]
    t = 0

    def step():
        nonlocal t
        t += 1
        for p, g, s in zip(params, grads, state, strict=True):
            s[0] = BETA1 * s[0] + (1 - BETA1) * g
            s[1] = BETA2 * s[1] + (1 - BETA2) * g * g
            m_hat, v_hat = s[0] / (1 - BETA1**t), s[1] / (1 - BETA2**t)
            p -= LR * m_hat / (np.sqrt(v_hat) + EPS)

    return step


def same_streams(params, grads):
    """No contestant but the limit: the same reads and in-place writes, one addition each."""
    numba = importlib.import_module("numba")

    @numba.njit(parallel=True)
    def touch(p, g, m, v):
        for i in numba.prange(p.size):
            p[i] += g[i]
            m[i] += g[i]
            v[i] += g[i]

    flat = [(p.reshape(-1), g.reshape(-1)) for p, g in zip(params, grads, strict=True)]
    arrays = [(p, g, np.ones_like(p), np.ones_like(p)) for p, g in flat]

    def step():
        for four in arrays:
            touch(*four)

    return step


CONTESTANTS = {
    "fusedstep, bound": fusedstep,
    "fusedstep, gradients passed": fusedstep_passing_gradients,
    "torch fused": torch_fused,
    "DeepSpeedCPUAdam": deepspeed,
    "Numba parallel": numba_parallel,
    "NumPy textbook": numpy_textbook,
    "same streams, one add": same_streams,
}


def gate(name, make):
    """The contestant's third step agrees with float64, or it may not run."""
    rng = np.random.default_rng(0)
    start, grad = rng.standard_normal((2, 10_007)).astype(np.float32)
    ours, exact = start.copy(), [start.astype(np.float64)]
    step, truth = make([ours], [grad]), numpy_textbook(exact, [grad.astype(np.float64)])
    for _ in range(3):
        step()
        truth()
    if name != "same streams, one add" and np.max(np.abs(ours - exact[0])) > 1e-6:
        raise AssertionError(f"{name} computes something else")


def stretch(step, at_least):
    """Seconds a step, the median over a stretch."""
    times, end = [], time.perf_counter() + at_least
    while not times or time.perf_counter() < end:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times[len(times) // 10 :])


def contestants():
    able = {}
    for name, make in CONTESTANTS.items():
        try:
            gate(name, make)
        except ImportError as error:
            print(f"left out: {name} ({error})")
        else:
            able[name] = make
    return able


def run(shapes, able, rounds):
    rng = np.random.default_rng(1)
    grads = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
    steps = {}
    for name, make in able.items():
        params = [rng.standard_normal(shape).astype(np.float32) for shape in shapes]
        steps[name] = make(params, grads)
        for _ in range(3):
            steps[name]()
    times = {name: [] for name in steps}
    for number in range(rounds):
        for name, step in steps.items():
            times[name].append(stretch(step, 0.15))
        if sys.stderr.isatty():
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
    if sys.stderr.isatty():
        print("\r" + " " * 30 + "\r", end="", file=sys.stderr)
    return times


def report(title, shapes, times):
    count = sum(int(np.prod(shape)) for shape in shapes)
    ours = times["fusedstep, bound"]
    print(
        f"\n{title} ({count:,} parameters, float32, {fs.get_num_threads()} threads, {fs.isa()})\n"
    )
    print("| contestant | µs a step | ns a parameter | time ÷ fusedstep's (rounds' range) |")
    print("| --- | ---: | ---: | ---: |")
    for name, seconds in times.items():
        ratios = sorted(b / a for a, b in zip(ours, seconds, strict=True))
        median = statistics.median(seconds)
        print(
            f"| {name} | {median * 1e6:,.1f} | {median / count * 1e9:.2f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) |"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="default: all")
    arguments = parser.parse_args()
    if arguments.threads:
        fs.set_num_threads(arguments.threads)
        for name in ("torch", "numba"):
            with_threads = sys.modules.get(name) or importlib.util.find_spec(name)
            if with_threads:
                importlib.import_module(name).set_num_threads(arguments.threads)
    able = contestants()
    for title, shapes in CASES.items():
        report(title, shapes, run(shapes, able, arguments.rounds))


if __name__ == "__main__":
    main()
