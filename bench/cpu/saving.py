"""How long saving and loading take beside writing and reading the same bytes, in one run.

    python -m bench.cpu.saving [--parameters N] [--rounds ROUNDS] [--folder DIR]

In every round, in turns: a plain ``write`` and ``fsync`` of as many bytes from memory, a save, a save
in the background (the pause of the program, and the time until the file is there), a copy of as many
bytes into memory that was written before, a plain read, and loads, which verify every byte. The folder
should be on the disk that is asked about.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import fusedstep as fs

from ..harness.report import table

PLAIN, COPY, READ = "plain write and fsync", "copy in memory", "plain read"
SAVE, PAUSE, UNTIL = "save", "save in the background: the pause", "… until the file is there"
LOAD, RESUME = "fs.load", "opt.load"
BESIDE = {SAVE: PLAIN, PAUSE: COPY, UNTIL: PLAIN, LOAD: READ, RESUME: READ}
GOALS = {SAVE: 0.8}


def write_plainly(path: Path, data: memoryview) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    while data:
        data = data[os.write(descriptor, data[: 1 << 24]) :]
    os.fsync(descriptor)
    os.close(descriptor)


def read_plainly(path: Path, data: memoryview) -> None:
    with path.open("rb", buffering=0) as file:
        assert file.readinto(data) == len(data)


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measured(count: int, rounds: int, folder: Path) -> tuple[int, dict[str, list[float]]]:
    """The bytes of a file, and the seconds of every round by what was done."""
    params = {f"layer{i}": np.ones(count // 8, np.float32) for i in range(8)}
    opt = fs.AdamW(params)
    opt.step({name: np.ones_like(p) for name, p in params.items()})
    ours, plain = folder / "ours.safetensors", folder / "plain"
    fs.checkpoint.save(ours, opt=opt)
    data, copy = np.fromfile(ours, np.uint8), np.fromfile(ours, np.uint8)

    def save_beside() -> None:
        before = ours.stat().st_ino
        found[PAUSE].append(seconds(lambda: fs.checkpoint.save(ours, opt=opt, background=True)))
        while ours.stat().st_ino == before:
            time.sleep(0.001)

    calls = {
        PLAIN: lambda: write_plainly(plain, data.data),
        SAVE: lambda: fs.checkpoint.save(ours, opt=opt),
        UNTIL: save_beside,
        COPY: lambda: np.copyto(copy, data),
        READ: lambda: read_plainly(ours, copy.data),
        LOAD: lambda: fs.load(ours),
        RESUME: lambda: opt.load(ours),
    }
    found: dict[str, list[float]] = {name: [] for name in (*calls, PAUSE)}
    names = list(calls)
    for i in range(rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            found[name].append(seconds(calls[name]))
    return data.nbytes, {name: times[1:] for name, times in found.items()}  # the first warms up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--parameters", type=int, default=32_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        size, found = measured(args.parameters, args.rounds, Path(folder))
    rows = []
    for name in (PLAIN, SAVE, PAUSE, UNTIL, COPY, READ, LOAD, RESUME):
        times, cells = found[name], ["", ""]
        if name in BESIDE:
            ratios = sorted(b / a for a, b in zip(times, found[BESIDE[name]], strict=True))
            middle = statistics.median(ratios)
            cells[0] = f"{middle:.2f} ({ratios[0]:.2f}-{ratios[-1]:.2f}) of {BESIDE[name]}"
            if name in GOALS:
                cells[1] = f"≥ {GOALS[name]}: {'met' if middle >= GOALS[name] else 'no'}"
        mean = statistics.mean(times)
        rows.append([name, f"{mean:.3f}", f"{size / mean / 1e9:.2f}", *cells])
    print(f"AdamW with its parameters, {size / 1e6:,.0f} MB, {args.rounds} rounds; means, and the")
    print("median of the speeds' ratios in the same round.\n")
    print(table(["", "s", "GB/s", "speed ÷", "goal"], rows))


if __name__ == "__main__":
    main()
