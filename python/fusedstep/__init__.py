"""The optimizer step, in place, in one sweep over memory.

The same bits on every instruction set and thread count. The documents that docstrings name, such as
docs/cuda.md, are in the folder ``docs`` of the installed package.

>>> import numpy as np, fusedstep as fs
>>> w = np.ones(3, np.float32)
>>> opt = fs.Adam({"w": w}, lr=0.1)
>>> opt.step({"w": np.full(3, 0.5, np.float32)})
StepResult(applied=True, grad_norm=None)
>>> w
array([0.9, 0.9, 0.9], dtype=float32)
"""

from fusedstep._environment import end_command as _end_command
from fusedstep._environment import interrupt_in_one_line as _interrupt_in_one_line

_interrupt_in_one_line()
try:
    from fusedstep._core import __version__
except ImportError as _error:
    _end_command(_error)
    raise
from fusedstep import checkpoint, data, functional, rules, schedules
from fusedstep._config import (
    available_isas,
    get_num_threads,
    isa,
    num_threads,
    set_num_threads,
    show_config,
)
from fusedstep._create import available, create
from fusedstep._errors import ArrayChangedError, CheckpointError
from fusedstep._group import Group
from fusedstep._pipeline import StepResult
from fusedstep.checkpoint import load
from fusedstep.ema import EMA
from fusedstep.optimizer import Optimizer
from fusedstep.rules import *

__all__ = [
    "EMA",
    "ArrayChangedError",
    "CheckpointError",
    "Group",
    "Optimizer",
    "StepResult",
    "__version__",
    "available",
    "available_isas",
    "checkpoint",
    "create",
    "data",
    "functional",
    "get_num_threads",
    "isa",
    "load",
    "num_threads",
    "schedules",
    "set_num_threads",
    "show_config",
]
__all__ += rules.__all__

# What private modules define is public as fusedstep's own, also for pickle and help().
for _public in (
    *(ArrayChangedError, CheckpointError, Group, StepResult, available, available_isas, create),
    *(get_num_threads, isa, num_threads, set_num_threads, show_config),
):
    _public.__module__ = __name__


def __dir__() -> list[str]:
    return sorted(__all__)
