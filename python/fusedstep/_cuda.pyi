"""
The compiled core of fusedstep for CUDA devices. Private: use the package's own names.
"""
from __future__ import annotations
import collections.abc
import fusedstep._specs
import numpy.typing
import typing
__all__: list[str] = ['Stepper', 'device_count', 'device_name', 'formats_of', 'forms_beside', 'from_numpy', 'is_capturing', 'kind_of', 'to_numpy', 'why_no_device']
class Stepper:
    """
    Parameters on a CUDA device, their state and their counters.
    """
    def __init__(self, rule: str, gradient: str = 'gradient', target: str = 'parameter', *, stream: collections.abc.Callable[[], typing.SupportsInt | typing.SupportsIndex], scalar: collections.abc.Callable[[str], typing.Any]) -> None:
        """
        `stream()` is the number of the current stream; `scalar(dtype)` an array of one number.
        """
    def add(self, groups: collections.abc.Sequence[fusedstep._specs.GroupOptions], tensors: collections.abc.Sequence[fusedstep._specs.TensorSpec], assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = []) -> None:
        ...
    def bind(self, gradients: typing.Any, assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = []) -> None:
        ...
    def freeze(self, tensors: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], frozen: bool, assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = []) -> None:
        ...
    def hold(self, read: collections.abc.Callable[[int, list[int], list[numpy.typing.NDArray[typing.Any]], list[numpy.typing.NDArray[typing.Any]]], typing.Any], params_for: str = '') -> typing.Any:
        ...
    def is_frozen(self, tensor: typing.SupportsInt | typing.SupportsIndex) -> bool:
        ...
    def restore(self, step_count: typing.SupportsInt | typing.SupportsIndex, steps: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], states: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]], params: collections.abc.Sequence[numpy.typing.NDArray[typing.Any]] | None, options: collections.abc.Sequence[fusedstep._specs.GroupOptions], assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = [], policy: tuple[bool, bool, bool, typing.SupportsFloat | typing.SupportsIndex, typing.SupportsInt | typing.SupportsIndex] | None = None, frozen: collections.abc.Sequence[bool] | None = None) -> None:
        ...
    def set_counters(self, step_count: typing.SupportsInt | typing.SupportsIndex | None, steps: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex | None]) -> None:
        ...
    def set_group(self, index: typing.SupportsInt | typing.SupportsIndex, options: fusedstep._specs.GroupOptions, assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = []) -> None:
        ...
    def set_groups(self, options: collections.abc.Sequence[fusedstep._specs.GroupOptions], assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = []) -> None:
        ...
    def set_policy(self, skip_nonfinite: bool, error_if_nonfinite: bool, clip_per_group: bool, ema_decay: typing.SupportsFloat | typing.SupportsIndex, seed: typing.SupportsInt | typing.SupportsIndex = 0) -> None:
        ...
    def set_rates(self, groups: collections.abc.Sequence[typing.SupportsInt | typing.SupportsIndex], rates: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], assignments: collections.abc.Sequence[tuple[typing.Any, str, typing.Any]] = []) -> None:
        ...
    def step(self, gradients: typing.Any = None, scale: typing.Any = 1.0, zero: bool = False) -> typing.Any:
        ...
    def step_combined(self, sets: collections.abc.Sequence[typing.Any], weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], divisor: typing.SupportsFloat | typing.SupportsIndex, scale: typing.Any = 1.0, zero: bool = False, allow_empty: bool = False) -> typing.Any:
        ...
    def step_together(self, gradients: typing.Any, tables: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.Any, typing.Any]], scale: typing.Any = 1.0, advances: bool = True) -> typing.Any:
        ...
    def steps_of(self, tensor: typing.SupportsInt | typing.SupportsIndex) -> int:
        ...
    def swap_in(self, what: str, why: str, values: collections.abc.Callable[[list[int]], list[typing.Any]], written: collections.abc.Callable[[], None]) -> None:
        ...
    def swap_out(self) -> None:
        ...
    def swapped(self) -> str:
        ...
    @property
    def step_count(self) -> int:
        ...
    @property
    def tensor_count(self) -> int:
        ...
def device_count() -> int:
    """
    0 where there is no driver or no device.
    """
def device_name(device: typing.SupportsInt | typing.SupportsIndex) -> str:
    ...
def formats_of(role: str, names: collections.abc.Sequence[str], arrays: collections.abc.Sequence[typing.Any], stream: typing.SupportsInt | typing.SupportsIndex) -> list[tuple[str, int]]:
    """
    The format of each array, by name, and how many elements it has.
    """
def forms_beside(role: str, names: collections.abc.Sequence[str], arrays: collections.abc.Sequence[typing.Any], layouts: collections.abc.Sequence[collections.abc.Sequence[str]], stream: typing.SupportsInt | typing.SupportsIndex, rowwise: str = '') -> list[list[tuple[str | None, int | None]]]:
    """
    For each of an array's layouts, the dtype, None if it is the array's own, and the length of one axis, where that is of blocks, or of rows beside an array of the rule named `rowwise`.
    """
def from_numpy(array: typing.Any, value: numpy.typing.NDArray[typing.Any], stream: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Writes a value of the same shape.
    """
def is_capturing(stream: typing.SupportsInt | typing.SupportsIndex) -> bool:
    """
    Whether a graph is being captured on the stream.
    """
def kind_of(array: typing.Any) -> tuple[numpy.dtype[typing.Any], list[int]]:
    """
    Its dtype on the host, and its shape.
    """
def to_numpy(array: typing.Any, stream: typing.SupportsInt | typing.SupportsIndex) -> numpy.typing.NDArray[typing.Any]:
    """
    A copy, in the array's memory order; waits.
    """
def why_no_device() -> str:
    """
    What the driver says; empty where there is one.
    """
__version__: str
