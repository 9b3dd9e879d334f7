"""Where arrays live: what the CPU and a CUDA device do differently, and nobody else has to know."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core
from fusedstep.copies import as_array, as_bits
from fusedstep.pipeline import check_grad_scale
from fusedstep.tensors import note_written, tensors_among, torch_library

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["HOST", "HostSpace", "Kind", "Space", "describe_cuda", "space_of"]

_CUDA = (2, 13)  # DLPack's device types: the device's own memory, and managed memory
_NOT_BUILT = "this build has no CUDA module (build with -Ccmake.define.FUSEDSTEP_CUDA=ON)"


class Kind(Protocol):
    """What a saved array is compared with."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy's name of the dtype."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the array."""


class Space(Protocol):
    """What an optimizer, an average and a function ask of the place of their arrays."""

    def stepper(self, rule: str, *words: str) -> _core.Stepper:
        """An engine for a rule."""

    def share_threads(self, core: _core.Stepper) -> None:
        """Let steps over torch's tensors have the threads of its backward pass."""

    def zeros(
        self,
        role: str,
        names: Sequence[str],
        leaves: Sequence[Any],
        copies: int,
        rowwise: str = "",
    ) -> list[list[Any]]:
        """For each array, so many zeroed ones like it, where it is; refuses what is no array.

        For a rule that is `rowwise`, by its name: of one number a row.
        """

    def kind_of(self, array: Any) -> Kind:
        """The dtype and shape of an array."""

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """A NumPy array of the values: a view on the CPU, a copy from elsewhere."""

    def like(self, value: NDArray[Any], leaf: Any) -> Any:
        """A NumPy array as an array like `leaf`: itself, or a copy there."""

    def copy(self, to: Any, value: Any) -> None:
        """Copy an array of this space into another."""

    def copy_of(self, array: Any) -> Any:
        """A new array of the same values."""

    def fill(self, buffers: Sequence[Any], value: float) -> None:
        """Set all elements of new buffers."""

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """Copy each array into a new buffer like it."""

    def as_copy(self, array: object) -> object:
        """A working copy as the core takes it."""

    def check_grad_scale(self, value: object) -> Any:
        """What gradients are divided by, or TypeError or ValueError."""


class HostSpace:
    """The memory of the CPU, as NumPy sees it."""

    def stepper(self, rule: str, *words: str) -> _core.Stepper:
        """See Space."""
        return _core.Stepper(rule, *words)

    def share_threads(self, core: _core.Stepper) -> None:
        """See Space. Beside the pool alone: cpp/team.hpp."""
        library = torch_library()
        if library and _core.threading() == "pool":
            core.share_threads(library)

    def zeros(
        self,
        role: str,
        names: Sequence[str],
        leaves: Sequence[Any],
        copies: int,
        rowwise: str = "",
    ) -> list[list[Any]]:
        """See Space. In the phase of each array: cpp/memory.hpp."""
        return list(_core.zeros_in_phase(role, names, leaves, copies, rowwise))

    def kind_of(self, array: Any) -> Kind:
        """See Space."""
        return as_array(array)

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """See Space."""
        return as_array(array)

    def like(self, value: NDArray[Any], leaf: Any) -> Any:  # noqa: ARG002
        """See Space."""
        return value

    def copy(self, to: Any, value: Any) -> None:
        """See Space."""
        np.copyto(as_array(to), as_array(value))
        note_written(tensors_among([to]))

    def copy_of(self, array: Any) -> Any:
        """See Space."""
        return as_array(array).copy(order="K")

    def fill(self, buffers: Sequence[Any], value: float) -> None:
        """See Space. On all threads: cpp/fill.hpp."""
        _core.fill_buffers(buffers, value)

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """See Space."""
        _core.fill_buffers(buffers, values=leaves)

    def as_copy(self, array: object) -> object:
        """See Space."""
        return as_bits(array)

    def check_grad_scale(self, value: object) -> float:
        """See Space."""
        return check_grad_scale(value)


HOST = HostSpace()


def _device_of(leaf: Any) -> str:
    """The CUDA device of an object, such as "cuda:0"; empty where it is not on one.

    Whatever an object has to say against being asked is told later, where it is checked.
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
    """The place of these arrays.

    Raises
    ------
    TypeError
        Some are on the CPU and some on a CUDA device; or this build has no module for CUDA.
    RuntimeError
        There is no CUDA device.
    """
    if all(type(leaf) is np.ndarray for leaf in leaves):
        return HOST
    places = [_device_of(leaf) for leaf in leaves]
    for name, leaf, place in zip(names, leaves, places, strict=True):
        if bool(place) != bool(places[0]):
            expected = f"an array on {places[0] or 'the CPU'} like {role} {names[0]!r}"
            came = f"a CUDA array ({_type_name(leaf)} on {place})" if place else "one on the CPU"
            came += "" if place else f" ({_type_name(leaf)})"
            raise TypeError(f"{role} {name!r}: expected {expected}, got {came}")
    if not places or not places[0]:
        return HOST
    module, why = _load()
    subject, what = f"{role} {names[0]!r}", f"({_type_name(leaves[0])} on {places[0]})"
    if module is None:
        raise TypeError(
            f"{subject}: expected an array on the CPU, since {why}, got a CUDA array {what}"
        )
    if module.device_count() == 0:
        raise RuntimeError(
            f"{subject}: expected a CUDA device for it {what}, got none: {module.why_no_device()}"
        )
    # An empty array is nowhere: the stream is that of the first which is somewhere.
    leader = next((leaf for leaf in leaves if 0 not in getattr(leaf, "shape", ())), leaves[0])
    space: Space = importlib.import_module("fusedstep.cuda").DeviceSpace(subject, leader)
    return space


def _load() -> tuple[ModuleType | None, str]:
    """The compiled module for CUDA, or why there is none."""
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
