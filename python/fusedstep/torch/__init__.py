"""Drop-in optimizers for torch: ``torch.optim.Optimizer`` with fusedstep's kernels.

>>> import torch, fusedstep.torch
>>> model = torch.nn.Linear(3, 1)
>>> opt = fusedstep.torch.AdamW(model.parameters(), lr=1e-3)
>>> model(torch.ones(2, 3)).sum().backward()
>>> opt.step()

Each class takes what the class of the same name in ``torch.optim`` takes, and does all that torch's
optimizers do: docs/torch.md says what is covered and how it is tested.
"""

import fusedstep
from fusedstep.torch import _rules
from fusedstep.torch._deepspeed import DeepSpeedCPUAdam
from fusedstep.torch._offload import CPUOffload
from fusedstep.torch._optimizer import (
    DecaysDecoupled,
    Optimizer,
    StepsOverRows,
    SwitchesToAverage,
    optimizer_class,
)
from fusedstep.torch._state_dicts import from_torch_state_dict, to_torch_state_dict

ASGD = optimizer_class(fusedstep.ASGD)
LAMB = optimizer_class(fusedstep.LAMB)
LARS = optimizer_class(fusedstep.LARS)
SGD = optimizer_class(_rules.SGD)
AdEMAMix = optimizer_class(fusedstep.AdEMAMix)
AdaBelief = optimizer_class(fusedstep.AdaBelief)
Adadelta = optimizer_class(fusedstep.Adadelta)
Adagrad = optimizer_class(fusedstep.Adagrad)
Adam = optimizer_class(_rules.Adam)
AdamW = optimizer_class(fusedstep.AdamW, DecaysDecoupled)
Adamax = optimizer_class(fusedstep.Adamax)
Adan = optimizer_class(fusedstep.Adan)
Lion = optimizer_class(fusedstep.Lion)
Momentum = optimizer_class(fusedstep.Momentum)
NAdam = optimizer_class(fusedstep.NAdam)
RAdam = optimizer_class(fusedstep.RAdam)
RMSprop = optimizer_class(fusedstep.RMSprop)
RowwiseAdagrad = optimizer_class(fusedstep.RowwiseAdagrad)
Rprop = optimizer_class(fusedstep.Rprop)
ScheduleFreeAdamW = optimizer_class(fusedstep.ScheduleFreeAdamW, SwitchesToAverage)
SparseAdam = optimizer_class(fusedstep.Adam, StepsOverRows, "SparseAdam")
Yogi = optimizer_class(fusedstep.Yogi)

__all__ = [
    "ASGD",
    "LAMB",
    "LARS",
    "SGD",
    "AdEMAMix",
    "AdaBelief",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Adan",
    "CPUOffload",
    "DeepSpeedCPUAdam",
    "Lion",
    "Momentum",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "RowwiseAdagrad",
    "Rprop",
    "ScheduleFreeAdamW",
    "SparseAdam",
    "Yogi",
    "from_torch_state_dict",
    "to_torch_state_dict",
]
