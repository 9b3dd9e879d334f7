r"""The rules. Each docstring gives formula, defaults with their origin, state and source.

Common to all: :math:`g` is the gradient, negated with ``maximize``. Unless a rule has decoupled
decay, ``weight_decay`` > 0 adds ``weight_decay * p`` to it (coupled or L2 decay, as in torch;
negative values are an error). Arithmetic is in the dtype of the parameter, float32 or float64;
scalars such as bias corrections are computed in float64 from an int64 counter and rounded once.
State arrays have the shape (in row-wise rules one number per row), dtype and memory order of their
parameter and start at 0. :class:`~fusedstep.Optimizer` documents the common options and errors.
"""

from fusedstep.rules.adagrad import Adadelta, Adagrad, RMSprop, RowwiseAdagrad
from fusedstep.rules.adam import Adam, Adamax, AdamW, NAdam, RAdam
from fusedstep.rules.averaging import ASGD, ScheduleFreeAdamW
from fusedstep.rules.belief import AdaBelief, Yogi
from fusedstep.rules.layerwise import LAMB, LARS
from fusedstep.rules.mixture import Adan, AdEMAMix
from fusedstep.rules.sgd import SGD, Momentum
from fusedstep.rules.sign import Lion, Rprop

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
    "Lion",
    "Momentum",
    "NAdam",
    "RAdam",
    "RMSprop",
    "RowwiseAdagrad",
    "Rprop",
    "ScheduleFreeAdamW",
    "Yogi",
]


def __dir__() -> list[str]:
    return sorted(__all__)
