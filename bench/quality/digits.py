"""A small convolutional network on the handwritten digits of scikit-learn."""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import fusedstep as fs

from .task import Floats, Rule, Score, Training, adamw
from .torch_model import TorchModel

BATCH, TRAINED = 64, 1200  # of 1,797 images


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(512, 64),
        nn.ReLU(),
        nn.Linear(64, 10),
    )


class Digits:
    def __init__(self, seed: int) -> None:
        data = load_digits()
        x = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 8 - 1
        y = torch.tensor(data.target, dtype=torch.int64)
        mixed = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
        train, self.held_out = mixed[:TRAINED], mixed[TRAINED:]
        self.x, self.y = x, y
        self.model = TorchModel(network, seed)
        self.params = self.model.params
        self.batches = fs.data.MiniBatches(train.numpy(), batch_size=BATCH, seed=seed)
        self.left = iter(self.batches)

    def _next(self) -> torch.Tensor:
        batch = next(self.left, None)
        if batch is None:
            self.left = iter(self.batches)
            batch = next(self.left)
        return torch.from_numpy(batch)

    def gradients(self) -> tuple[float, dict[str, Floats]]:
        batch = self._next()
        return self.model.gradients(
            F.cross_entropy(self.model.module(self.x[batch]), self.y[batch])
        )

    @torch.no_grad()
    def score(self) -> Score:
        logits, y = self.model.module(self.x[self.held_out]), self.y[self.held_out]
        right = (logits.argmax(1) == y).float().mean()
        return Score(F.cross_entropy(logits, y).item(), right.item())


DIGITS = Training(
    "digits",
    "Convolutional network on digits, 38 k parameters",
    "accuracy",
    1000,
    (
        adamw(2e-3, 0.01),
        Rule("lion", 3e-4, {"weight_decay": 0.1}),
        Rule("sgd", 0.05, {"momentum": 0.9, "weight_decay": 1e-4}),
    ),
    Digits,
)
