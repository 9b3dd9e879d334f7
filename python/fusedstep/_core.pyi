"""
The compiled core of fusedstep. Private: use the package's own names.
"""
from __future__ import annotations
import collections.abc
import fusedstep._specs
import numpy.typing
import typing
__all__: list[str] = ['Block', 'RuleInfo', 'Stepper', 'available_isas', 'compiler', 'decoded', 'fill_buffers', 'formats_of', 'gradients_of', 'has_none', 'has_openmp', 'isa', 'requested_threads', 'rules', 'set_thread_limit', 'thread_limit', 'threading', 'use_isa', 'zeros_in_phase']
class RuleInfo:
    """
    A rule as the compiled registry describes it.
    """
    @property
    def contents(self) -> list[list[str]]:
        """
        What each of these holds, which decides how narrow it may be stored: 'exact' (not at all), 'number' (bfloat16), 'average' or 'square' (8 bits).
        """
    @property
    def flags(self) -> list[str]:
        """
        The options compiled in; bit i of a variant is flags[i].
        """
    @property
    def layerwise(self) -> bool:
        """
        Whether its steps depend on norms over a whole array.
        """
    @property
    def name(self) -> str:
        ...
    @property
    def rowwise(self) -> bool:
        """
        Whether each of its states has one number per row.
        """
    @property
    def scalars(self) -> list[str]:
        """
        The numbers that the rule reads each step, in order.
        """
    @property
    def states(self) -> list[list[str]]:
        """
        The names of the state, by variant.
        """
class Stepper:
    """
    Parameters, their state and their counters under one rule.
    """
    def __init__(self, rule: str, gradient: str = 'gradient', target: str = 'parameter') -> None:
        ...
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
    def share_threads(self, library: str) -> None:
        """
        Allows steps to use the OpenMP threads of a loaded shared library.
        """
    def step(self, gradients: typing.Any = None, scale: typing.SupportsFloat | typing.SupportsIndex = 1.0, zero: bool = False) -> typing.Any:
        ...
    def step_combined(self, sets: collections.abc.Sequence[typing.Any], weights: collections.abc.Sequence[typing.SupportsFloat | typing.SupportsIndex], divisor: typing.SupportsFloat | typing.SupportsIndex, scale: typing.SupportsFloat | typing.SupportsIndex = 1.0, zero: bool = False, allow_empty: bool = False) -> typing.Any:
        ...
    def step_together(self, gradients: typing.Any, tables: collections.abc.Sequence[tuple[typing.SupportsInt | typing.SupportsIndex, typing.Any, typing.Any]], scale: typing.SupportsFloat | typing.SupportsIndex = 1.0, advances: bool = True) -> typing.Any:
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
class Block:
    """
    A context manager of two functions.
    """
    def __enter__(self) -> None:
        ...
    def __exit__(self, kind: typing.Any, error: typing.Any, traceback: typing.Any) -> None:
        ...
    def __init__(self, enter: collections.abc.Callable[[], None], exit: collections.abc.Callable[[], None]) -> None:
        ...
def available_isas() -> list[str]:
    """
    The instruction sets that this CPU supports, in ascending order.
    """
def compiler() -> str:
    """
    The compiler that built the core.
    """
def decoded(array: typing.Any, layout: str, scales: typing.Any = None, correction: typing.Any = None, rounding: str = 'nearest') -> numpy.typing.NDArray[typing.Any]:
    """
    A float32 copy of what an array holds in the format of its layout, with its scales, or with the correction of a parameter that is rounded so.
    """
def fill_buffers(buffers: collections.abc.Sequence[typing.Any], value: typing.SupportsFloat | typing.SupportsIndex = 0.0, values: collections.abc.Sequence[typing.Any] = [], layout: str = 'native', scales: collections.abc.Sequence[typing.Any] = []) -> None:
    """
    Writes buffers of zeros_in_phase() on the threads that steps over them will have: all elements `value`, or copies of `values`, of the same shapes and orders.
    """
def formats_of(role: str, names: collections.abc.Sequence[str], arrays: collections.abc.Sequence[typing.Any]) -> list[tuple[str, int]]:
    """
    The format of each array, by name, and how many elements it has.
    """
def gradients_of(groups: list[typing.Any], state: dict[typing.Any, typing.Any], params: list[typing.Any], seen: list[typing.Any]) -> typing.Any:
    """
    The gradients of `params`; None unless they are the parameters of the groups, in order, and the entries of the state and their values those that were seen.
    """
def has_none(objects: typing.Any) -> bool:
    """
    Whether None is among the objects of a list.
    """
def has_openmp() -> bool:
    """
    Whether the build has OpenMP as a source of threads.
    """
def isa() -> str:
    """
    The instruction set that steps run on.
    """
def requested_threads() -> int:
    """
    The limit that was asked for, 0 for none.
    """
def rules() -> dict[str, RuleInfo]:
    """
    Every compiled rule by its name.
    """
def set_thread_limit(n: typing.SupportsInt | typing.SupportsIndex) -> None:
    """
    Limits the threads of a step; 0 restores the default.
    """
def thread_limit() -> int:
    """
    The most threads that a step uses.
    """
def threading() -> str:
    """
    Where threads come from: 'pool' or 'openmp'.
    """
def use_isa(name: str) -> None:
    """
    Runs later steps on another instruction set; for tests and benchmarks.
    """
def zeros_in_phase(role: str, names: collections.abc.Sequence[str], like: collections.abc.Sequence[typing.Any], layouts: collections.abc.Sequence[collections.abc.Sequence[str]], rowwise: str = '') -> list[list[numpy.typing.NDArray[typing.Any]]]:
    """
    For each array, zeroed ones of its shape and order, in one block of memory: of each of its layouts, 'native' (float32 or float64), 'scales' or a format. They begin cache lines where it does. For the row-wise rule named `rowwise`: with one number per row.
    """
__version__: str
