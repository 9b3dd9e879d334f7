"""What is measured in training loops: the cases by name, and the settings of each."""

import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import LR, OURS

from .cases import SINGLE
from .loops import (
    NETWORKS,
    Admitted,
    Build,
    Loop,
    admitted,
    numpy_loops,
    parameters,
    shapes,
    threads_of,
    torch_loops,
)
from .names import DEEPSPEED, FUSED, NUMBA, ONE_THREAD
from .narrow_loops import numpy_modes, torch_modes
from .opponents import ADAM

# What runs beside the process, or which cores it may use.
SETTINGS = {
    "quiet": "nothing beside",
    "busy1": "1 busy process beside",
    "busy2": "2 busy processes beside",
    "one-core": "bound to one core",
    "half-core": "in a group of half a core",
}
BUSY = ("quiet", "busy1", "busy2")
EVERYWHERE = tuple(SETTINGS)

TURNS, AFTER_EACH_OTHER, AT_ONCE = 20, "one after the other", "both at once"


class LoopCase(NamedTuple):
    """Contestants that each make iterations of their own."""

    name: str
    title: str
    parameters: int
    # How each contestant that passes the gate is built, with peers or without.
    contestants: Callable[[bool], Admitted]
    settings: tuple[str, ...]
    # The settings in --quick.
    quick: tuple[str, ...] = ()
    # The contestant that the others' times are divided by.
    reference: str = OURS


def _loops() -> list[LoopCase]:
    settings = {
        "109k": (EVERYWHERE, ("quiet", "busy1")),
        "1.3M": (("quiet", "busy1", "one-core"), ("quiet",)),
        "11M": (("quiet",), ()),
    }
    return [
        LoopCase(
            f"loop-{library.lower()}-{size}",
            f"{library} loop, {size}",
            parameters(layers),
            partial(loops, layers),
            *settings[size],
        )
        for library, loops in (("NumPy", numpy_loops), ("torch", torch_loops))
        for size, layers in NETWORKS.items()
    ]


def _narrow_loops() -> list[LoopCase]:
    """Of the sizes that take the time of their bytes."""
    return [
        LoopCase(
            f"narrow-loop-{library.lower()}-{size}",
            f"{library} loop, {size}, by mode",
            parameters(NETWORKS[size]),
            partial(loops, NETWORKS[size]),
            ("quiet",),
        )
        for library, loops in (("NumPy", numpy_modes), ("torch", torch_modes))
        for size in ("1.3M", "11M")
    ]


def _arrays(sizes: Sequence[int], seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(size, np.float32) for size in sizes]


def _bound(sizes: Sequence[int], seed: int = 0) -> Callable[[], Any]:
    """A step of ours on its own arrays."""
    opt = fs.Adam(_arrays(sizes, seed), lr=LR)
    opt.bind(_arrays(sizes, seed + 1))
    return opt.step


def _row(sizes: Sequence[int], with_peers: bool) -> Admitted:
    """Back-to-back steps, with nothing between them."""
    names = (FUSED, DEEPSPEED, NUMBA)
    makers = {
        OURS: ADAM[OURS],
        ONE_THREAD: ADAM[OURS],
        **{name: ADAM[name] for name in names},
    }
    able, left_out = admitted(makers, len(sizes), with_peers)

    def build(name: str) -> Loop:
        contestant = able[name].make(_arrays(sizes, 0), _arrays(sizes, 1))
        return Loop(lambda _: contestant.step(), threads=threads_of(name))

    return {name: partial(build, name) for name in able}, left_out


def _rows() -> list[LoopCase]:
    mlp = [math.prod(shape) for shape in shapes(NETWORKS["109k"])]
    return [
        LoopCase(
            f"row-{name}",
            f"back-to-back steps, {title}",
            sum(sizes),
            partial(_row, sizes),
            settings,
            quick,
        )
        for name, title, sizes, settings, quick in (
            ("109k", "MLP 109k", mlp, EVERYWHERE, ("quiet", "busy1")),
            ("10M", "one array of 10M", [SINGLE["10M"]], BUSY, ()),
        )
    ]


def _in_turn(sizes: Sequence[int], count: int, _: bool) -> Admitted:
    """A step of one optimizer, then of the next one; without peers."""

    def build(threads: int) -> Loop:
        steps = itertools.cycle([_bound(sizes, 2 * i) for i in range(count)])
        return Loop(lambda _: next(steps)(), threads=threads)

    return {name: partial(build, threads_of(name)) for name in (OURS, ONE_THREAD)}, {}


def _several(step: Callable[[], Any]) -> None:
    for _ in range(TURNS):
        step()


def _two_threads(size: int, _: bool) -> Admitted:
    """Two Python threads, each with its own optimizer that it steps several times."""

    def build(at_once: bool, threads: int) -> Loop:
        workers = [(ThreadPoolExecutor(1), _bound([size], 2 * i)) for i in range(2)]

        def step(_: Any) -> None:
            running = []
            for worker, own in workers:
                running.append(worker.submit(_several, own))
                if not at_once:
                    running.pop().result()
            for each in running:
                each.result()

        return Loop(step, threads=threads)

    builds: dict[str, Build] = {
        name + more: partial(build, at_once, threads)
        for more, threads in (("", 0), (", 1 thread each", 1))
        for name, at_once in ((AFTER_EACH_OTHER, False), (AT_ONCE, True))
    }
    return builds, {}


def _many() -> list[LoopCase]:
    mlp = [math.prod(shape) for shape in shapes(NETWORKS["109k"])]
    settings = ("quiet",)
    return [
        *(
            LoopCase(
                f"many-100x{name}",
                f"100 optimizers in turn, {title}",
                sum(sizes),
                partial(_in_turn, sizes, 100),
                settings,
                quick,
            )
            for name, title, sizes, quick in (
                ("109k", "MLP 109k each", mlp, ()),
                ("20k", "one array of 20k each", [20_000], settings),
            )
        ),
        LoopCase(
            "threads-2x1M",
            f"2 threads of Python, {TURNS} steps on 1M each",
            SINGLE["1M"],
            partial(_two_threads, SINGLE["1M"]),
            settings,
            settings,
            AFTER_EACH_OTHER,
        ),
    ]


def loop_cases() -> list[LoopCase]:
    return [*_loops(), *_narrow_loops(), *_rows(), *_many()]
