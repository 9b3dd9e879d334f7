"""One case: who may be timed, and the times, round by round."""

import importlib
import random
from functools import cache
from typing import Any

import numpy as np
from contestants import OURS
from devices import Device, host_seconds
from gate import reason_of
from lists import Case
from rivals import COPY, Rival, Step, Tensors, missing

import fusedstep as fs

# Odd sizes, one large enough for 8-bit optimizers (below 4,096 they keep float32).
GATE_SIZES = (10_240, 4_099, 7, 1, 70_001)
GATE_STEPS = 3
WARM_STEPS = 3
FEWEST, MOST = 3, 400  # steps in one stretch
HOST_STEPS = 50


def on(device: Device, values: list[np.ndarray]) -> Tensors:
    torch = importlib.import_module("torch")
    return [torch.tensor(value, device=device.kind) for value in values]


def _numbers(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size).astype(np.float32) for size in GATE_SIZES]


@cache
def _truth(rule: str, clips: bool) -> list[np.ndarray]:
    """fusedstep on the CPU, which is the bits that the device must have."""
    params = _numbers(0)
    decay = {"weight_decay": 0.01} if rule == "adamw" else {}
    norm = {"max_grad_norm": 1.0} if clips else {}
    opt = fs.create(rule, params, lr=1e-3, **decay, **norm)
    for step in range(GATE_STEPS):
        opt.step(_numbers(1 + step))
    return params


def gate(device: Device, case: Case, name: str, rival: Rival) -> str:
    """Why a contestant is not timed; empty where it computes what it should."""
    if reason := missing(rival):
        return reason
    if name == COPY:
        return ""
    try:
        params, grads = on(device, _numbers(0)), on(device, _numbers(0))
        step = rival.make(params, grads)
        for k in range(GATE_STEPS):
            for grad, value in zip(grads, on(device, _numbers(1 + k)), strict=True):
                grad.copy_(value)
            step()
        device.wait()
        came = [param.detach().cpu().numpy() for param in params]
    except Exception as error:  # noqa: BLE001 - whatever stops a contestant is for the report
        return reason_of(error)
    truth = _truth("adamw" if case.name.startswith("clip-") else "adam", "clip +" in name)
    if rival.worst_error is None:
        same = all(a.tobytes() == b.tobytes() for a, b in zip(came, truth, strict=True))
        return "" if same else "fails the gate: other bits than on the CPU"
    worst = max(float(np.abs(a - b).max()) for a, b in zip(came, truth, strict=True))
    allowed = rival.worst_error
    return "" if worst <= allowed else f"fails the gate: {worst:.1e} off (allowed {allowed:.0e})"


class Field:
    """The gradients of a case, and its contestants, each with parameters of its own."""

    def __init__(self, device: Device, case: Case) -> None:
        torch = importlib.import_module("torch")
        self._device, self._case = device, case
        torch.manual_seed(0)
        self._grads = [torch.randn(n, device=device.kind) for n in case.sizes]
        self.left_out: dict[str, str] = {}
        self.steps: dict[str, Step] = {}
        self.counts: dict[str, int] = {}

    def build(self, stretch: float) -> None:
        """Those that may be timed, warm, and how many of their steps fill a stretch."""
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


def measure(device: Device, case: Case, rounds: int, stretch: float) -> dict[str, Any]:
    """As bench/ratios.py reads it, with the host's times beside the device's."""
    field = Field(device, case)
    field.build(stretch)
    if OURS not in field.steps:
        raise RuntimeError(f"{OURS}: {field.left_out[OURS]}")
    events: dict[str, list[float]] = {name: [] for name in field.steps}
    wall: dict[str, list[float]] = {name: [] for name in field.steps}
    order, shuffle = list(field.steps), random.Random(0).shuffle
    for _ in range(rounds):
        shuffle(order)
        for name in order:
            device.timed(field.steps[name], 1)  # after a neighbour, caches are its own
            times = device.timed(field.steps[name], field.counts[name])
            events[name].append(times.events)
            wall[name].append(times.wall)
    host = {
        name: [
            host_seconds(device, step, min(HOST_STEPS, field.counts[name])) for _ in range(rounds)
        ]
        for name, step in field.steps.items()
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
            for name in field.steps
        },
        "left_out": field.left_out,
    }


def measure_graph(device: Device, sizes: list[int], rounds: int) -> dict[str, Any]:
    """A captured AdamW with clipping and averages: its replay beside its kernels' own time."""
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
