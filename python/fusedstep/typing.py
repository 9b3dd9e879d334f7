"""Types for annotations: what optimizers take as parameters, gradients and learning rates.

A type checker refuses ``fs.AdamW("nonsense")`` and ``opt.step(42)`` by them. They are for functions
of your own, and where mypy would take a mixed nest for a ``dict[str, object]``::

    from fusedstep.typing import Params

    params: Params = {"encoder": [w, v], "bias": b}
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Protocol, SupportsIndex, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from fusedstep._options import Schedule

__all__ = ["Array", "Gradients", "Params", "Schedule"]

_T_co = TypeVar("_T_co", covariant=True)


class _SupportsDLPack(Protocol):
    def __dlpack__(self, *args: Any, **kwargs: Any) -> Any: ...


class _OnCUDA(Protocol):
    @property
    def __cuda_array_interface__(self) -> Mapping[str, Any]: ...


class _List(Protocol[_T_co]):
    """A list or tuple; a string is none, because ``"a" in "abc"`` takes strings alone."""

    def __contains__(self, value: object, /) -> bool: ...
    def __getitem__(self, index: SupportsIndex, /) -> _T_co: ...
    def __iter__(self) -> Iterator[_T_co]: ...
    def __len__(self) -> int: ...
    def __reversed__(self) -> Iterator[_T_co]: ...
    def count(self, value: Any, /) -> int: ...


Array: TypeAlias = NDArray[Any] | _SupportsDLPack | _OnCUDA
"""NumPy's, or of a library that supports DLPack (torch, CuPy), or on a CUDA device (Numba)."""

_Nest: TypeAlias = "Array | _List[_Nest] | Mapping[str, _Nest]"
# A group may be a dict of anything: a checker makes no more of {"params": w, "lr": 0.1}.
_Entry: TypeAlias = "_Nest | tuple[str, _Nest] | Mapping[str, object]"

Params: TypeAlias = "Array | Mapping[str, _Nest] | _List[_Entry] | Iterator[_Entry]"
"""One array, any nesting of lists and mappings, an iterator, pairs of name and array, or groups."""

_Gradient: TypeAlias = "Gradients | tuple[str, Gradients | None] | None"

Gradients: TypeAlias = (
    "Array | np.generic | Mapping[str, Gradients | None] | _List[_Gradient] | Iterator[_Gradient]"
)
"""In the structure of the parameters; each may be None, and one without axes a scalar."""
