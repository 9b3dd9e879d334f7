"""Optimizers of other libraries, each in the best form that its own API allows, and who stores what."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import fusedstep as fs
from fusedstep._bench.contestants import Make, on_tensors
from fusedstep._bench.libraries import Unusable, library
from fusedstep._bench.modes import Mode

__all__ = ["libraries_of", "of_the_same_mode", "optimizer_of", "torch_form"]

Options = Mapping[str, Any]
# From torch's parameters to what has a step().
Optimizer = Callable[[list[Any]], Any]
Found = tuple[str, Optimizer]


def _class_in(module: str, distribution: str, name: str) -> Any:
    found = getattr(library(module, distribution), name, None)
    if found is None:
        raise Unusable(f"its {module} has no {name}")
    return found


def _with_options(cls: Any, options: Options, **more: Any) -> Optimizer:
    """The optimizer with those of the options that it knows, on as many threads as fusedstep."""
    library("torch", "torch").set_num_threads(fs.get_num_threads())
    known = inspect.signature(cls).parameters
    chosen = {name: value for name, value in options.items() if name in known}
    return partial(cls, **chosen, **more)


def torch_form(name: str, options: Options) -> Found:
    """The torch optimizer of this name with the same options: fused if it can be, else foreach.

    Raises
    ------
    Unusable
        There is no torch, or no such class; the message says which.
    """
    cls = _class_in("torch.optim", "torch", name)
    known = inspect.signature(cls).parameters
    form = next((form for form in ("fused", "foreach") if form in known), None)
    if form is None:
        return "torch", _with_options(cls, options)
    return f"torch {form}", _with_options(cls, options, **{form: True})


def _torchao(name: str, options: Options, mode: Mode) -> Found:
    cls = _class_in("torchao.optim", "torchao", f"{name}8bit")
    randomly = {"bf16_stochastic_round": True} if mode.rounding == "stochastic" else {}
    return f"torchao {name}8bit", _with_options(cls, options, **randomly)


def _bitsandbytes(name: str, options: Options, mode: Mode) -> Found:
    name += "8bit" if mode.state == "8bit" else ""
    cls = _class_in("bitsandbytes.optim", "bitsandbytes", name)
    return f"bitsandbytes {name}", _with_options(cls, options)


def _deepspeed(name: str, options: Options, mode: Mode) -> Found:
    """Its kernel is compiled at first use, for the CPU if one says so."""
    if name not in ("Adam", "AdamW"):
        raise Unusable(f"its CPU optimizers have no {name} with such options")
    for variable, value in (("DS_ACCELERATOR", "cpu"), ("DS_SKIP_CUDA_CHECK", "1")):
        os.environ.setdefault(variable, value)
    cls = _class_in("deepspeed.ops.adam", "deepspeed", "DeepSpeedCPUAdam")
    own = {"adamw_mode": name == "AdamW", "fp32_optimizer_states": mode.state == "float32"}
    return "DeepSpeedCPUAdam", _with_options(cls, options, **own)


def _torch(name: str, options: Options, _: Mode) -> Found:
    return torch_form(name, options)


Find = Callable[[str, Options, Mode], Found]

# Formats of the parameters and of the state, rounded to nearest, without a correction.
_ALL_BFLOAT16 = Mode("bfloat16", "bfloat16")
_WIDE_STATE = (Mode("bfloat16"), Mode("float16"))


def _is_eight_bit(mode: Mode) -> bool:
    return mode == Mode(mode.param, "8bit")


# By library: its optimizers, and whether what they store is of a mode.
_LIBRARIES: Mapping[str, tuple[Find, Callable[[Mode], bool]]] = {
    "torch": (_torch, lambda mode: mode == _ALL_BFLOAT16),
    "torchao": (
        _torchao,
        lambda mode: _is_eight_bit(mode) or mode == Mode("bfloat16", "8bit", "stochastic"),
    ),
    "bitsandbytes": (_bitsandbytes, lambda mode: _is_eight_bit(mode) or mode in _WIDE_STATE),
    "DeepSpeed": (_deepspeed, lambda mode: mode == _ALL_BFLOAT16 or mode in _WIDE_STATE),
}


def libraries_of(mode: Mode) -> list[str]:
    """Those that store the numbers of a narrow mode as we do."""
    return [who for who, (_, is_of) in _LIBRARIES.items() if is_of(mode)]


def optimizer_of(who: str, name: str, options: Options, mode: Mode) -> Found:
    """What one of them has for the mode; `name` is that of the rule's class.

    Raises
    ------
    Unusable
        It is not here, or has no such optimizer.
    """
    find, _ = _LIBRARIES[who]
    return find(name, options, mode)


def of_the_same_mode(
    name: str, options: Options, mode: Mode
) -> tuple[dict[str, Make], dict[str, str]]:
    """Who stores the numbers of a narrow mode as we do, and who cannot here, with the reason."""
    makers, left_out = {}, {}
    for who in libraries_of(mode):
        try:
            label, optimizer = optimizer_of(who, name, options, mode)
        except Unusable as error:
            left_out[who] = str(error)
        else:
            makers[label] = on_tensors(optimizer)
    return makers, left_out
