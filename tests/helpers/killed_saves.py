"""Processes that save one checkpoint after another until they are killed; and what is then there."""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

import fusedstep as fs

SIZES = {"w": 60_000, "v": 7, "u": 20_000}
MODES = ("foreground", "background", "manager", "manager-background")


def optimizer(sizes=SIZES):
    """All of whose numbers are the same, since all its gradients are 1."""
    return fs.Adam({name: np.zeros(size) for name, size in sizes.items()}, lr=0.1)


def is_after(opt, steps):
    """Whether each number is what so many steps make of it."""
    small = optimizer({"w": 1})
    for _ in range(steps):
        small.step({"w": np.ones(1)})
    own = small.state["w"]
    return opt.step_count == steps and all(
        opt.state[name]["step"] == steps
        and (opt.params[name] == small.params["w"]).all()
        and (opt.state[name]["exp_avg"] == own["exp_avg"]).all()
        and (opt.state[name]["exp_avg_sq"] == own["exp_avg_sq"]).all()
        for name in SIZES
    )


class Saves:
    """One of the ways to save and to go on."""

    def __init__(self, mode, folder):
        self.background = mode.endswith("background")
        self.manager = fs.checkpoint.CheckpointManager(folder, 2) if "manager" in mode else None
        self.path = Path(folder) / "run.safetensors"

    def save(self, opt):
        how = {"extra": {"steps": opt.step_count}, "background": self.background}
        if self.manager:
            self.manager.save(opt.step_count, opt, **how)
        else:
            fs.checkpoint.save(self.path, opt=opt, **how)

    def restore(self, opt):
        if self.manager:
            return self.manager.restore(opt)
        if not self.path.exists():
            return None
        saved = fs.load(self.path)
        saved.restore(opt)
        return saved


def run(mode, folder, pipe):
    """Save after every step, and tell the number of those that are surely on the disk."""
    saves, opt = Saves(mode, folder), optimizer()
    saves.restore(opt)
    os.write(pipe, opt.step_count.to_bytes(8, "little"))
    grads = {name: np.ones(size) for name, size in SIZES.items()}
    while True:
        opt.step(grads)
        saves.save(opt)
        if saves.background and opt.step_count % 2 == 0:
            fs.checkpoint.wait()
        if not saves.background or opt.step_count % 2 == 0:
            os.write(pipe, opt.step_count.to_bytes(8, "little"))


def killed(mode, folder, rng):
    """Kill it in the middle of something, and return the last number that it told."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(source)
            run(mode, folder, sink)
        except BaseException:  # noqa: BLE001 - the parent's frames are not to be unwound
            traceback.print_exc()
        os._exit(1)
    os.close(sink)
    with os.fdopen(source, "rb", buffering=0) as file:
        told, pace = file.read(8), 0.01
        for _ in range(rng.choice([0, 1, 1, 2])):
            begin = time.perf_counter()
            told, pace = file.read(8), time.perf_counter() - begin
        time.sleep(rng.uniform(0, 1.5 * pace))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        told += file.readall()
    if os.waitstatus_to_exitcode(status) != -signal.SIGKILL:
        raise AssertionError(f"ended by itself: {status}")
    return int.from_bytes(told[-8:], "little")


def main(mode, count, folder, seed):
    """Kill a training again and again; exit with a message where anything was lost."""
    rng, last, moves, leftovers = random.Random(seed), 0, 0, 0
    for i in range(count):
        told = killed(mode, folder, rng)
        leftovers += len([*Path(folder).glob(".*")])
        opt = optimizer()
        saved = Saves(mode, folder).restore(opt)
        steps = saved.extra["steps"] if saved else 0
        if steps < max(told, last) or not is_after(opt, steps):
            sys.exit(f"{mode}: kill {i}: {told} was saved, {last} before, {steps} was found")
        moves += steps > last
        last = steps
    saves = Saves(mode, folder)
    saves.save(opt)
    fs.checkpoint.wait()
    if rest := [*Path(folder).glob(".*")]:
        sys.exit(f"{mode}: leftovers {rest}")
    print(f"{mode}: {count} kills, {moves} after a save, {leftovers} in the middle of one, 0 lost")
