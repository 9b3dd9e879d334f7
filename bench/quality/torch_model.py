"""A torch module as a model of NumPy arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from .task import Floats


class TorchModel:
    """The module and its parameters, which are views of the same memory."""

    def __init__(self, build: Callable[[], torch.nn.Module], seed: int) -> None:
        torch.manual_seed(seed)
        self.module = build()
        self.params: dict[str, Floats] = {
            name: parameter.detach().numpy() for name, parameter in self.module.named_parameters()
        }

    def gradients(self, loss: Any) -> tuple[float, dict[str, Floats]]:
        self.module.zero_grad()
        loss.backward()
        found = self.module.named_parameters()
        return loss.item(), {name: np.ascontiguousarray(p.grad.numpy()) for name, p in found}
