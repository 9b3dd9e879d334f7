"""The cases of back-to-back steps, by name."""

import inspect
from collections.abc import Callable
from functools import cache, partial
from typing import NamedTuple

import numpy as np

import fusedstep as fs
from fusedstep._bench.contestants import (
    LR,
    OURS,
    Arrays,
    Contestant,
    fusedstep,
    numpy_textbook,
    torch_step,
)

from ..harness.gate import Maker
from ..harness.machine import last_level_cache
from ..harness.models import MODELS
from .modes import MODES, narrow_makers
from .names import DEEPSPEED, DROP_IN, FOREACH, FUSED, NUMBA, NUMBA_ONE_ARRAY, PASSED, ROOFLINE
from .opponents import ADAM, roofline, states_of, torch_compiled
from .whole import WHOLE, textbook

SINGLE = {"100k": 100_000, "1M": 1_000_000, "10M": 10_000_000, "50M": 50_000_000}
# Of narrow modes: what fits the nearest caches, and what takes more than the last one in any mode.
IN_CACHE = {"2k": 1 << 11, "16k": 1 << 14}
IN_MEMORY = {"16M": 1 << 24, "67M": 1 << 26}
# Tensors and the elements of each; two sizes separate the work per tensor from its arithmetic.
OVERHEAD = [(k, 64) for k in (1, 3, 10, 30, 100, 300, 1000)] + [(k, 256) for k in (1, 10, 100)]
SETS = 8
# --quick spends its time on the cases with all opponents.
QUICK_RULES = {"rmsprop"}
QUICK_MODES = {"8bit-state", "split24-8bit"}

Place = Callable[[int], np.ndarray]


class Case(NamedTuple):
    """Contestants over lists of arrays of these sizes."""

    name: str
    title: str
    sizes: list[int]
    makers: dict[str, Maker]
    exact: Callable[[Arrays, Arrays], Contestant] = numpy_textbook
    # The contestant that the others' times are divided by.
    reference: str = OURS
    # Where a contestant's arrays are allocated, if not by NumPy.
    placement: dict[str, Place] = {}  # noqa: RUF012 - a named tuple's default, never written
    # Empty the caches before each step, untimed.
    evict: bool = False
    in_quick: bool = True
    on_all_threads: bool = True
    on_one_thread: bool = False


def _adam(
    name: str,
    title: str,
    sizes: list[int],
    more: dict[str, Maker] | None = None,
    evict: bool = False,
    in_quick: bool = False,
    on_one_thread: bool = False,
) -> Case:
    """Adam against all opponents, from cache or memory depending on the size."""
    where = "cold" if evict or 16 * sum(sizes) > last_level_cache() else "resident"
    makers = {**ADAM, ROOFLINE: roofline(2), **(more or {})}
    return Case(
        name,
        f"{title}, {where}",
        sizes,
        makers,
        evict=evict,
        in_quick=in_quick,
        on_one_thread=on_one_thread,
    )


def _as_one_array(maker: Maker) -> Maker:
    """The same elements as a single array."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        inner = maker.make([np.concatenate(params)], [np.concatenate(grads)])
        ends = np.cumsum([p.size for p in params])[:-1]
        return inner._replace(result=lambda: np.split(inner.result()[0], ends))

    return Maker(make)


def _single_arrays() -> list[Case]:
    quick, one = {"100k", "1M", "10M"}, {"100k", "1M", "10M"}
    return [
        _adam(
            f"adam-{name}",
            f"Adam, one array of {name}",
            [size],
            in_quick=name in quick,
            on_one_thread=name in one,
        )
        for name, size in SINGLE.items()
    ]


def _models() -> list[Case]:
    titles = {
        "mlp": "MLP 784-128-64-10",
        "mobilenetv2": "MobileNetV2",
        "resnet50": "ResNet-50",
        "gpt2": "GPT-2 124M",
        "llama-2-7b-layer": "Llama-2-7B, one layer",
    }
    one_array = {NUMBA_ONE_ARRAY: _as_one_array(ADAM[NUMBA])}
    small = {"mlp", "mobilenetv2", "resnet50"}
    cases = [
        _adam(
            name,
            title,
            MODELS[name],
            one_array if name == "mlp" else None,
            in_quick=name in small,
            on_one_thread=name in small,
        )
        for name, title in titles.items()
    ]
    evicted = _adam("mlp-evicted", f"{titles['mlp']}, caches emptied", MODELS["mlp"], evict=True)
    return [cases[0], evicted, *cases[1:]]


def _overhead() -> list[Case]:
    """Tensors so small that the work around them dominates."""
    names = [OURS, PASSED, DROP_IN, FUSED, FOREACH, DEEPSPEED, NUMBA]
    return [
        Case(
            f"overhead-{k}x{size}",
            f"Adam, {k} x {size} elements",
            [size] * k,
            {name: ADAM[name] for name in names},
            in_quick=(k, size) in ((1, 64), (30, 64), (1000, 64), (100, 256)),
        )
        for k, size in OVERHEAD
    ]


def place(offset: int, size: int) -> np.ndarray:
    """A float32 array whose address is `offset` modulo 64."""
    raw = np.empty(4 * size + 128, np.uint8)
    start = (offset - raw.ctypes.data) % 64
    return raw[start : start + 4 * size].view(np.float32)


ALIGNED, NATURAL, ODD = "64-byte aligned", "NumPy-allocated", "+4 bytes"


def _placements() -> list[Case]:
    places: dict[str, Place] = {
        ALIGNED: partial(place, 0),
        NATURAL: partial(np.empty, dtype=np.float32),
        ODD: partial(place, 4),
    }
    makers = {OURS: ADAM[OURS], FUSED: ADAM[FUSED]}
    # Lengths that no vector divides.
    return [
        Case(
            f"placement-{name}",
            f"Adam, one array of {name} + 3, by address",
            [SINGLE[name] + 3],
            {f"{who}, {where}": maker for who, maker in makers.items() for where in places},
            reference=f"{OURS}, {ALIGNED}",
            placement={f"{who}, {where}": p for who in makers for where, p in places.items()},
            in_quick=name == "10M",
        )
        for name in ("1M", "10M")
    ]


# Rules with a fused form in torch that are compared all the same, and their options: Momentum in
# torch's terms (fs.Momentum differs from it in the first step only, and costs the same).
TORCH_FUSED_TOO = {"sgd": {"lr": 1e-2, "momentum": 0.9, "dampening": 0.9}}


@cache
def torch_form(rule: str) -> tuple[str, bool] | None:
    """Its class in torch.optim if it works on lists, and whether it has fused=."""
    try:
        import torch
    except ImportError:
        return None
    for found in vars(torch.optim).values():
        if inspect.isclass(found) and found.__name__.lower() == rule:
            options = inspect.signature(found).parameters
            return (found.__name__, "fused" in options) if "foreach" in options else None
    return None


def _rule(rule: str, name: str, fused: bool) -> list[Case]:
    options = TORCH_FUSED_TOO.get(rule, {})
    makers = {
        OURS: Maker(fusedstep(rule, **options)),
        **({FUSED: Maker(torch_step(name, fused=True, **options))} if fused else {}),
        FOREACH: Maker(torch_step(name, foreach=True, **options)),
        "torch for-loop": Maker(torch_step(name, foreach=False, **options)),
        "torch compiled": torch_compiled(name, **options),
        ROOFLINE: roofline(states_of(rule, **options)),
    }
    exact = torch_step(name, foreach=False, **options)
    title = f"{name}{' with momentum and dampening' if options else ''}"
    return [
        Case(
            f"rule-{rule}-{shape}",
            f"{title}, {shape}",
            sizes,
            makers,
            exact,
            in_quick=rule in QUICK_RULES and shape == "10M",
        )
        for shape, sizes in (("10M", [SINGLE["10M"]]), ("mobilenetv2", MODELS["mobilenetv2"]))
    ]


def _rules() -> list[Case]:
    """Rules that torch has without a fused form, with the defaults that both share."""
    return [
        case
        for rule in fs.available()
        if (form := torch_form(rule)) and (rule in TORCH_FUSED_TOO or not form[1])
        for case in _rule(rule, *form)
    ]


_latest_sets: list[tuple[Arrays, list[Arrays]]] = []


def _sets_of(grads: Arrays) -> list[Arrays]:
    """Gradient sets whose mean is `grads`; contestants that share `grads` share them."""
    if not _latest_sets or _latest_sets[0][0] is not grads:
        factors = [np.float32(2 * (k + 1) / (SETS + 1)) for k in range(SETS)]
        _latest_sets[:] = [(grads, [[g * factor for g in grads] for factor in factors])]
    return _latest_sets[0][1]


def _fusedstep_mean(params: Arrays, grads: Arrays) -> Contestant:
    opt, sets = fs.Adam(params, lr=LR), _sets_of(grads)
    return Contestant(lambda: opt.step_mean(sets), lambda: params)


def _mean_then(maker: Maker) -> Maker:
    """NumPy's mean, written in place into the peer's gradients, then its step."""

    def make(params: Arrays, grads: Arrays) -> Contestant:
        sets, mean = _sets_of(grads), [g.copy() for g in grads]
        step, result, _ = maker.make(params, mean)

        def both() -> None:
            for into, *parts in zip(mean, *sets, strict=True):
                np.add(parts[0], parts[1], out=into)
                for part in parts[2:]:
                    np.add(into, part, out=into)
                np.multiply(into, np.float32(1 / SETS), out=into)
            step()

        return Contestant(both, result)

    return Maker(make)


def _torch_mean_then_fused(params: Arrays, grads: Arrays) -> Contestant:
    """The same by torch, whose sums use all threads."""
    import torch

    mean = [g.copy() for g in grads]
    sets = [[torch.from_numpy(g) for g in own] for own in _sets_of(grads)]
    into = [torch.from_numpy(g) for g in mean]
    step, result, _ = ADAM[FUSED].make(params, mean)

    def both() -> None:
        for target, *parts in zip(into, *sets, strict=True):
            torch.add(parts[0], parts[1], out=target)
            for part in parts[2:]:
                target.add_(part)
            target.mul_(1 / SETS)
        step()

    return Contestant(both, result)


def _means() -> list[Case]:
    peers = (FUSED, DEEPSPEED, NUMBA)
    makers = {
        OURS: Maker(_fusedstep_mean),
        **{f"NumPy mean, {peer}": _mean_then(ADAM[peer]) for peer in peers},
        "torch mean, torch fused": Maker(_torch_mean_then_fused),
    }
    return [
        Case("mean-10M", f"Adam on the mean of {SETS} gradient sets, 10M", [SINGLE["10M"]], makers),
        Case(
            "mean-resnet50",
            f"Adam on the mean of {SETS} gradient sets, ResNet-50",
            MODELS["resnet50"],
            makers,
            in_quick=False,
        ),
    ]


def _whole() -> list[Case]:
    titles = {"mobilenetv2": "MobileNetV2", "resnet50": "ResNet-50", "gpt2": "GPT-2 124M"}
    return [
        Case(
            f"whole-{name}",
            f"Whole step, {title}",
            MODELS[name],
            WHOLE,
            textbook,
            in_quick=name != "gpt2",
        )
        for name, title in titles.items()
    ]


def _narrow() -> list[Case]:
    """Adam in float32 beside each narrow mode: from cache on one thread, and from memory on all."""
    return [
        Case(
            f"narrow-{name}-{shape}",
            f"Adam, {mode}, {shape}",
            [size],
            narrow_makers(mode, in_cache=shape in IN_CACHE),
            in_quick=shape == "16M" and name in QUICK_MODES,
            on_all_threads=shape not in IN_CACHE,
            on_one_thread=shape in IN_CACHE,
        )
        for name, mode in MODES.items()
        for shape, size in {**IN_CACHE, **IN_MEMORY}.items()
    ]


def all_cases() -> list[Case]:
    return [
        *_single_arrays(),
        *_models(),
        *_overhead(),
        *_placements(),
        *_rules(),
        *_means(),
        *_whole(),
        *_narrow(),
    ]
