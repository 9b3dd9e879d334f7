"""Find out where arrays live."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np

from fusedstep._messages import shown
from fusedstep._spaces.host import HOST
from fusedstep._spaces.space import Space

__all__ = ["describe_cuda", "space_of"]

_CUDA = (2, 13)  # DLPack's device types: device memory and managed memory
_NOT_BUILT = "this build has no CUDA module (build with -Ccmake.define.FUSEDSTEP_CUDA=ON)"


def _device_of(leaf: Any) -> str:
    """The CUDA device of an object, such as "cuda:0"; empty where it is not on one.

    An object that raises is taken for one on the CPU, where the check of arrays reports the error.
    """
    if isinstance(leaf, np.ndarray):
        return ""
    try:
        if getattr(leaf, "is_cuda", None) is not None:  # torch
            return f"cuda:{leaf.get_device()}" if leaf.is_cuda else ""
        if hasattr(leaf, "__dlpack_device__"):
            kind, number = leaf.__dlpack_device__()
            return f"cuda:{int(number)}" if int(kind) in _CUDA else ""
        return "a CUDA device" if hasattr(leaf, "__cuda_array_interface__") else ""
    except Exception:  # noqa: BLE001
        return ""


def _type_name(leaf: Any) -> str:
    kind = type(leaf)
    library = kind.__module__.split(".")[0]
    return kind.__name__ if library in ("builtins", "numpy") else f"{library}.{kind.__name__}"


def space_of(names: Sequence[str], leaves: Sequence[Any], role: str = "parameter") -> Space:
    """The space that holds all of these arrays.

    Raises
    ------
    TypeError
        Some are on the CPU and some on a CUDA device; or this build has no CUDA module.
    RuntimeError
        There is no CUDA device.
    """
    if all(type(leaf) is np.ndarray for leaf in leaves):
        return HOST
    devices = [_device_of(leaf) for leaf in leaves]
    for name, leaf, device in zip(names, leaves, devices, strict=True):
        if bool(device) != bool(devices[0]):
            expected = f"an array on {devices[0] or 'the CPU'} like {role} {shown(names[0])}"
            got = f"a CUDA array ({_type_name(leaf)} on {device})" if device else "one on the CPU"
            got += "" if device else f" ({_type_name(leaf)})"
            raise TypeError(f"{role} {shown(name)}: expected {expected}, got {got}")
    if not devices or not devices[0]:
        return HOST
    module, why = _load()
    subject, what = f"{role} {shown(names[0])}", f"({_type_name(leaves[0])} on {devices[0]})"
    if module is None:
        raise TypeError(
            f"{subject}: expected an array on the CPU, since {why}, got a CUDA array {what}"
        )
    if module.device_count() == 0:
        raise RuntimeError(
            f"{subject}: expected a CUDA device for it {what}, got none: {module.why_no_device()}"
        )
    # An empty array may be on no device, so the stream is that of the first which is not empty.
    first = next((leaf for leaf in leaves if 0 not in getattr(leaf, "shape", ())), leaves[0])
    device_space = importlib.import_module("fusedstep._spaces.device")
    space: Space = device_space.DeviceSpace(subject, first)
    return space


def _load() -> tuple[ModuleType | None, str]:
    """The compiled CUDA module, or why there is none."""
    try:
        return importlib.import_module("fusedstep._cuda"), ""
    except ModuleNotFoundError:
        return None, _NOT_BUILT
    except ImportError as error:
        return None, f"its CUDA module does not load ({error})"


def describe_cuda() -> str | list[str]:
    """For show_config: the names of the devices, or why there are none."""
    module, why = _load()
    if module is None:
        return "not built" if why == _NOT_BUILT else why
    if module.device_count() == 0:
        return f"no device: {module.why_no_device()}"
    return [module.device_name(i) for i in range(module.device_count())]
