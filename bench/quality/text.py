"""A causal transformer on characters of the help texts that ship with Python."""

from pydoc_data.topics import topics

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .task import Floats, Score, Training, adamw
from .torch_model import TorchModel

WIDTH, HEADS, LAYERS = 144, 4, 4
CONTEXT, BATCH = 32, 8
HELD_OUT = 512  # sequences


class Block(nn.Module):
    """Attention and a network of one hidden layer, each of normalised input and added to it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shape = (*x.shape[:2], 3, HEADS, WIDTH // HEADS)
        q, k, v = self.qkv(self.norm1(x)).view(shape).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Transformer(nn.Module):
    def __init__(self, characters: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(characters, WIDTH)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, WIDTH))
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, characters)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.blocks(self.embedding(tokens) + self.position)))


class Text:
    """The last tenth of the text is held out."""

    def __init__(self, seed: int) -> None:
        text = "\n\n".join(topics[name] for name in sorted(topics))
        alphabet, codes = np.unique(list(text), return_inverse=True)
        cut = len(codes) * 9 // 10
        self.codes = torch.from_numpy(codes.astype(np.int64))
        self.starts = cut - CONTEXT - 1
        self.held_out = cut + np.arange(HELD_OUT) * ((len(codes) - cut - CONTEXT - 1) // HELD_OUT)
        self.rng = np.random.default_rng(seed)
        self.model = TorchModel(lambda: Transformer(len(alphabet)), seed)
        self.params = self.model.params

    def _loss(self, starts: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        sequences = self.codes[torch.from_numpy(starts[:, None] + np.arange(CONTEXT + 1))]
        logits, following = self.model.module(sequences[:, :-1]), sequences[:, 1:]
        right = logits.argmax(2) == following
        return F.cross_entropy(logits.flatten(0, 1), following.flatten()), right

    def gradients(self) -> tuple[float, dict[str, Floats]]:
        return self.model.gradients(self._loss(self.rng.integers(self.starts, size=BATCH))[0])

    @torch.no_grad()
    def score(self) -> Score:
        loss, right = self._loss(self.held_out)
        return Score(loss.item(), right.float().mean().item())


TEXT = Training(
    "text",
    "Causal transformer on characters, 1.04 M parameters",
    "accuracy of the next character",
    1000,
    (adamw(2e-3, 0.1),),
    Text,
)
