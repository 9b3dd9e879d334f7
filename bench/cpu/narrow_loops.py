"""Training loops in narrow modes: ours in float32, ours in each mode, and those who store the same."""

import importlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import fusedstep as fs
from fusedstep._bench.contestants import LR, OURS, Arrays
from fusedstep._bench.elsewhere import libraries_of
from fusedstep._bench.modes import FLOAT32, Mode

from ..harness.gate import admit
from .loops import (
    Admitted,
    Build,
    NumpyRule,
    TorchRule,
    numpy_loop,
    numpy_textbook,
    shapes,
    torch_loop,
    torch_on_numpy,
)
from .modes import MODES, adam_of, in_mode, narrow_makers

# How the loop of a contestant is built from a mode, and its optimizer in torch's terms or ours.
LoopOf = Callable[[Mode, TorchRule | None], Build]


def _ours(mode: Mode, params: Any) -> Callable[[], Any]:
    opt = fs.Adam(params, lr=LR, **mode.options)
    return lambda: opt.step([p.grad for p in params])


def _theirs(who: str, mode: Mode, params: Any) -> Callable[[], Any]:
    return adam_of(who, mode)(params).step


def _admitted(modes: Sequence[Mode], tensors: int, with_peers: bool, loop: LoopOf) -> Admitted:
    builds, left_out = {OURS: loop(FLOAT32, None)}, {}
    for mode in modes:
        able, absent = admit(narrow_makers(mode, in_cache=False), numpy_textbook, tensors)
        if in_mode(mode) in able:
            builds[in_mode(mode)] = loop(mode, None)
        for who in libraries_of(mode):
            name = f"{who}, {mode}"
            if not with_peers:
                left_out[name] = "--peers none"
            elif who in able:
                builds[name] = loop(mode, partial(_theirs, who, mode))
            else:
                left_out[name] = absent[who]
    return builds, left_out


def numpy_modes(layers: Sequence[int], with_peers: bool) -> Admitted:
    """With parameters in float32: NumPy has no products of matrices in bfloat16."""

    def ours(mode: Mode, params: Arrays) -> Callable[[Arrays], Any]:
        return fs.Adam(params, lr=LR, **mode.options).step

    def loop(mode: Mode, rule: TorchRule | None) -> Build:
        on_numpy: NumpyRule = torch_on_numpy(rule) if rule else partial(ours, mode)
        return partial(numpy_loop, layers, on_numpy, 0)

    wide = [mode for mode in MODES.values() if mode.param == "float32"]
    return _admitted(wide, len(shapes(layers)), with_peers, loop)


def torch_modes(layers: Sequence[int], with_peers: bool) -> Admitted:
    """The model is in the mode's format, and so are its gradients."""
    importlib.import_module("torch")

    def loop(mode: Mode, rule: TorchRule | None) -> Build:
        return partial(torch_loop, layers, rule or partial(_ours, mode), 0, mode.param)

    return _admitted(list(MODES.values()), len(shapes(layers)), with_peers, loop)
