"""One case: who may be timed, and the times, round by round."""

import importlib
from functools import cache
from typing import Any

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import LR, OURS, Arrays, Step
from fusedstep._bench.gate import STEPS, why_rejected
from fusedstep._bench.libraries import reason_of
from fusedstep._bench.timing import WARM_STEPS, in_turns

from ..harness.results import CaseResult
from .devices import Device, host_seconds
from .lists import Case
from .rivals import COPY, MAX_NORM, WEIGHT_DECAY, Rival, Tensors, missing

# Odd sizes, one large enough for 8-bit optimizers (below 4,096 they keep float32).
GATE_SIZES = (10_240, 4_099, 7, 1, 70_001)
FEWEST, MOST = 3, 400  # steps in one stretch
HOST_STEPS = 50


def on(device: Device, values: Arrays) -> Tensors:
    torch = importlib.import_module("torch")
    return [torch.tensor(value, device=device.kind) for value in values]


def _numbers(seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size).astype(np.float32) for size in GATE_SIZES]


@cache
def _truth(rule: str, clips: bool) -> Arrays:
    """What fusedstep computes on the CPU: on the device it must have the same bits."""
    params = _numbers(0)
    decay = {"weight_decay": WEIGHT_DECAY} if rule == "adamw" else {}
    norm = {"max_grad_norm": MAX_NORM} if clips else {}
    opt = fs.create(rule, params, lr=LR, **decay, **norm)
    for step in range(STEPS):
        opt.step(_numbers(1 + step))
    return params


def gate(device: Device, case: Case, name: str, rival: Rival) -> str:
    """Why a contestant is not timed; empty if it computes what it should."""
    if reason := missing(rival):
        return reason
    if name == COPY:
        return ""
    try:
        params, grads = on(device, _numbers(0)), on(device, _numbers(0))
        step = rival.make(params, grads)
        for k in range(STEPS):
            for grad, value in zip(grads, on(device, _numbers(1 + k)), strict=True):
                grad.copy_(value)
            step()
        device.wait()
        result = [param.detach().cpu().numpy() for param in params]
    except Exception as error:  # noqa: BLE001 - whatever stops a contestant is for the report
        return reason_of(error)
    truth = _truth("adamw" if case.name.startswith("clip-") else "adam", "clip +" in name)
    return why_rejected(result, truth, rival.allowed)


class Contest:
    """The gradients of a case, and its contestants, each with its own parameters."""

    def __init__(self, device: Device, case: Case) -> None:
        torch = importlib.import_module("torch")
        self._device, self._case = device, case
        torch.manual_seed(0)
        self._grads = [torch.randn(n, device=device.kind) for n in case.sizes]
        self.left_out: dict[str, str] = {}
        self.steps: dict[str, Step] = {}
        self.counts: dict[str, int] = {}

    def build(self, stretch: float) -> None:
        """Build and warm up those that may be timed, and find how many steps fill a stretch."""
        for name, rival in self._case.rivals.items():
            reason = gate(self._device, self._case, name, rival)
            try:
                if not reason:
                    self.steps[name] = self._warm(name, rival, stretch)
            except Exception as error:  # noqa: BLE001 - such as no memory left, for the report
                reason = reason_of(error)
            if reason:
                self.left_out[name] = reason
                self.steps.pop(name, None)
            self._device.clean()

    def _warm(self, name: str, rival: Rival, stretch: float) -> Step:
        # A copy's memory is its own.
        params = self._grads if name == COPY else [grad.clone() for grad in self._grads]
        step = rival.make(params, self._grads)
        seconds = self._device.timed(step, WARM_STEPS).wall
        seconds = self._device.timed(step, WARM_STEPS).wall or seconds
        self.counts[name] = min(MOST, max(FEWEST, int(stretch / max(seconds, 1e-9))))
        return step


def measure(device: Device, case: Case, rounds: int, stretch: float) -> CaseResult:
    """The times by the device's events, with those by the host's clock beside them."""
    contest = Contest(device, case)
    contest.build(stretch)
    if OURS not in contest.steps:
        raise RuntimeError(f"{OURS}: {contest.left_out[OURS]}")
    events: dict[str, list[float]] = {name: [] for name in contest.steps}
    wall: dict[str, list[float]] = {name: [] for name in contest.steps}
    for name in in_turns(contest.steps, rounds):
        device.timed(contest.steps[name], 1)  # untimed: the caches hold another contestant's data
        times = device.timed(contest.steps[name], contest.counts[name])
        events[name].append(times.events)
        wall[name].append(times.wall)
    host = {
        name: [
            host_seconds(device, step, min(HOST_STEPS, contest.counts[name])) for _ in range(rounds)
        ]
        for name, step in contest.steps.items()
    }
    return {
        "name": case.name,
        "title": case.title,
        "tensors": len(case.sizes),
        "parameters": sum(case.sizes),
        "reference": OURS,
        "contestants": {
            name: {
                "seconds": events[name],
                "reference": events[OURS],
                "wall": wall[name],
                "host": host[name],
            }
            for name in contest.steps
        },
        "left_out": contest.left_out,
    }


def measure_graph(device: Device, sizes: list[int], rounds: int) -> dict[str, Any]:
    """A captured AdamW with clipping and averages: its replay, and the time of its kernels."""
    torch = importlib.import_module("torch")
    params = [torch.randn(n, device=device.kind) for n in sizes]
    grads = [torch.randn(n, device=device.kind) for n in sizes]
    opt = fs.AdamW(params, lr=1e-3, max_grad_norm=1.0, ema_decay=0.999)

    def step() -> Any:
        return opt.step(grads)

    for _ in range(WARM_STEPS):
        step()
    replay = device.capture(step)
    for _ in range(WARM_STEPS):
        replay()
    queued = [device.behind(replay) for _ in range(4 * rounds)]
    in_a_row = [device.timed(replay, 20).events for _ in range(rounds)]
    eager = [device.behind(step) for _ in range(4 * rounds)]
    try:
        kernels = device.kernel_seconds(replay, 20)
    except Exception as error:  # noqa: BLE001 - a profiler that is not allowed here
        print(f"the profiler: {reason_of(error)}")
        kernels = None
    return {
        "tensors": len(sizes),
        "parameters": sum(sizes),
        "replay": queued,
        "replays_in_a_row": in_a_row,
        "eager": eager,
        "kernels": kernels,
    }
