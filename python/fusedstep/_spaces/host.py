"""Arrays in host memory: of NumPy, or of a library that shares its memory through DLPack."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fusedstep import _core
from fusedstep._autograd import note_written, tensors_among
from fusedstep._formats import is_narrow
from fusedstep._options import check_grad_scale
from fusedstep._spaces.space import Kind

__all__ = ["HOST", "HostSpace"]


class HostSpace:
    """Host memory, as NumPy sees it. See fusedstep._spaces.space.Space."""

    def stepper(self, rule: str, *words: str) -> _core.Stepper:
        """See Space."""
        return _core.Stepper(rule, *words)

    def share_threads(self, core: _core.Stepper) -> None:
        """See Space. Only the thread pool can; see cpp/threads/team.hpp."""
        library = _torch_library()
        if library and _core.threading() == "pool":
            core.share_threads(library)

    def zeros(
        self,
        role: str,
        names: Sequence[str],
        leaves: Sequence[Any],
        layouts: Sequence[Sequence[str]],
        rowwise: str = "",
    ) -> list[list[Any]]:
        """See Space. Cache lines begin where the array's do; see cpp/engine/memory.hpp."""
        return list(_core.zeros_in_phase(role, names, leaves, layouts, rowwise))

    def formats(
        self, role: str, names: Sequence[str], leaves: Sequence[Any]
    ) -> list[tuple[str, int]]:
        """See Space."""
        return _core.formats_of(role, names, leaves)

    def kind_of(self, array: Any) -> Kind:
        """See Space."""
        return _as_numpy(array)

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """See Space."""
        return _as_numpy(array)

    def like(self, value: NDArray[Any], leaf: Any) -> Any:  # noqa: ARG002
        """See Space."""
        return value

    def copy(self, to: Any, value: Any) -> None:
        """See Space."""
        np.copyto(_as_numpy(to), _as_numpy(value))
        note_written(tensors_among([to]))

    def copy_of(self, array: Any) -> Any:
        """See Space."""
        return _as_numpy(array).copy(order="K")

    def fill(
        self, buffers: Sequence[Any], value: float, layout: str, scales: Sequence[Any]
    ) -> None:
        """See Space. On all threads; see cpp/engine/fill.hpp."""
        _core.fill_buffers(buffers, value, layout=layout, scales=scales)

    def fill_with(self, buffers: Sequence[Any], leaves: Sequence[Any]) -> None:
        """See Space."""
        _core.fill_buffers(buffers, values=leaves)

    def as_parameter(self, value: Any, leaf: Any) -> Any:
        """See Space."""
        ((own_format, _),) = self.formats("parameter", [""], [leaf])
        layout = own_format if is_narrow(own_format) else "native"
        ((new,),) = self.zeros("parameter", [""], [leaf], [[layout]])
        _core.fill_buffers([new], values=[value], layout=layout)
        return new

    def decoded(
        self,
        array: Any,
        layout: str,
        *,
        scales: Any = None,
        correction: Any = None,
        rounding: str = "nearest",
    ) -> NDArray[Any]:
        """See Space."""
        return _core.decoded(array, layout, scales, correction, rounding)

    def check_grad_scale(self, value: object) -> float:
        """See Space."""
        return check_grad_scale(value)


HOST = HostSpace()


def _as_numpy(leaf: Any) -> NDArray[Any]:
    """An accepted parameter as a NumPy view of its memory."""
    if isinstance(leaf, np.ndarray):
        return leaf
    # torch exports a tensor that requires grad only once it is detached.
    return np.from_dlpack(leaf.detach() if getattr(leaf, "requires_grad", False) else leaf)


def _torch_library() -> str:
    """The path of torch's library that links the OpenMP of its backward pass, or ""."""
    file = getattr(sys.modules.get("torch"), "__file__", None)
    return str(Path(file).parent / "lib" / "libtorch_cpu.so") if file else ""
