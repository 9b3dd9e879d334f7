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
from fusedstep.torch._optimizer import Optimizer, optimizer_class

SGD = optimizer_class(_rules.SGD)
Momentum = optimizer_class(fusedstep.Momentum)
Adagrad = optimizer_class(fusedstep.Adagrad)
RowwiseAdagrad = optimizer_class(fusedstep.RowwiseAdagrad)
RMSprop = optimizer_class(fusedstep.RMSprop)
Adadelta = optimizer_class(fusedstep.Adadelta)
Adam = optimizer_class(_rules.Adam)
AdamW = optimizer_class(fusedstep.AdamW)
Adamax = optimizer_class(fusedstep.Adamax)
NAdam = optimizer_class(fusedstep.NAdam)
RAdam = optimizer_class(fusedstep.RAdam)
ASGD = optimizer_class(fusedstep.ASGD)
Rprop = optimizer_class(fusedstep.Rprop)
Yogi = optimizer_class(fusedstep.Yogi)
AdaBelief = optimizer_class(fusedstep.AdaBelief)
Adan = optimizer_class(fusedstep.Adan)
AdEMAMix = optimizer_class(fusedstep.AdEMAMix)
LAMB = optimizer_class(fusedstep.LAMB)
LARS = optimizer_class(fusedstep.LARS)
Lion = optimizer_class(fusedstep.Lion)
ScheduleFreeAdamW = optimizer_class(fusedstep.ScheduleFreeAdamW)

__all__ = ["Optimizer"]
