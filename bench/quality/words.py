"""Word vectors by skip-gram with negative sampling (Mikolov et al. 2013), in NumPy.

Two tables of one row per word of Python's help texts: most words are rare, and a step updates only
the rows of its words.
"""

import re
from functools import lru_cache
from pydoc_data.topics import topics

import numpy as np

from .task import Floats, Rows, Score, Training, adamw

DIMENSIONS = 128  # a row is one block of 8-bit state
BATCH, NEGATIVES, WINDOW = 256, 5, 4
SMOOTHING = 0.75  # the power of a word's frequency that negatives are drawn by


@lru_cache(maxsize=1)
def corpus() -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
    """The number of words, pairs of word and neighbour to train on and held out, frequencies."""
    text = "\n".join(topics[name] for name in sorted(topics)).lower()
    words, codes, counts = np.unique(
        re.findall(r"[a-z_]+|[^\sa-z_]", text), return_inverse=True, return_counts=True
    )
    pairs = np.concatenate(
        [np.stack([codes[:-d], codes[d:]], 1) for d in range(1, WINDOW + 1)]
        + [np.stack([codes[d:], codes[:-d]], 1) for d in range(1, WINDOW + 1)]
    )
    rng = np.random.default_rng(0)
    # Frequent words are thinned out, as usual: a pair of rare words has more to tell.
    frequency = counts / counts.sum()
    kept = np.minimum(1, np.sqrt(1e-3 / frequency))
    pairs = pairs[rng.random(len(pairs)) < kept[pairs].prod(1)]
    pairs = rng.permutation(pairs)
    cut = len(pairs) * 9 // 10
    smooth = frequency**SMOOTHING
    return len(words), pairs[:cut], pairs[cut:], smooth / smooth.sum()


def log1p_exp(x: Floats) -> Floats:
    return np.logaddexp(np.float32(0), x)


class Words:
    def __init__(self, seed: int) -> None:
        words, self.trained, self.held_out, frequency = corpus()
        self.cumulated = np.cumsum(frequency)
        self.rng = np.random.default_rng(seed)
        start = self.rng.uniform(-0.5, 0.5, (words, DIMENSIONS)) / DIMENSIONS
        self.params = {
            "word": start.astype(np.float32),
            "neighbour": np.zeros((words, DIMENSIONS), np.float32),
        }
        self.order = self.rng.permutation(len(self.trained))
        self.at = 0

    def _negatives(self, rng: np.random.Generator, count: int) -> np.ndarray:
        drawn = np.searchsorted(self.cumulated, rng.random((count, NEGATIVES)))
        return np.minimum(drawn, len(self.cumulated) - 1)

    def _logits(self, pairs: np.ndarray, negatives: np.ndarray) -> tuple[Floats, ...]:
        """Of the true neighbour, and then of the others; the vectors they come from."""
        word = self.params["word"][pairs[:, 0]]
        others = self.params["neighbour"][np.column_stack([pairs[:, 1], negatives])]
        return np.einsum("bd,bnd->bn", word, others), word, others

    def gradients(self) -> tuple[float, dict[str, Rows]]:
        if self.at + BATCH > len(self.order):
            self.order, self.at = self.rng.permutation(len(self.trained)), 0
        pairs = self.trained[self.order[self.at : self.at + BATCH]]
        self.at += BATCH
        negatives = self._negatives(self.rng, BATCH)
        logits, word, others = self._logits(pairs, negatives)
        # The sum over the pairs' losses would be usual: a batch's mean is the same to AdamW.
        error = 1 / (1 + np.exp(-logits))
        error[:, 0] -= 1
        error /= BATCH
        rows = (error[:, :, None] * word[:, None]).reshape(-1, DIMENSIONS)
        neighbours = np.column_stack([pairs[:, 1], negatives]).ravel()
        signed = logits.copy()
        signed[:, 0] *= -1
        return float(log1p_exp(signed).sum(1).mean()), {
            "word": Rows(pairs[:, 0], np.einsum("bn,bnd->bd", error, others)),
            "neighbour": Rows(neighbours, rows),
        }

    def score(self) -> Score:
        """The loss, and how often the true neighbour beats a random word."""
        pairs = self.held_out
        negatives = self._negatives(np.random.default_rng(1), len(pairs))
        logits, _, _ = self._logits(pairs, negatives)
        beaten = (logits[:, :1] > logits[:, 1:]).mean()
        logits[:, 0] *= -1
        return Score(float(log1p_exp(logits).sum(1).mean()), float(beaten))


WORDS = Training(
    "words",
    "Word vectors with rare rows",
    "true neighbours above random words",
    2000,
    (adamw(1e-2, 0.01),),
    Words,
)
