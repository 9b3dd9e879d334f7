"""Moments to store: of two small trainings, and made to be difficult."""

from collections.abc import Iterator

import numpy as np

BETAS, STEPS = (0.9, 0.999), 400
Moments = tuple[np.ndarray, np.ndarray]  # exp_avg, exp_avg_sq


def follow(gradients: Iterator[np.ndarray]) -> Moments:
    """The moments after all of these, without the elements that never had a gradient."""
    average = square = np.float32(0)
    for gradient in gradients:
        average = np.float32(BETAS[0]) * average + np.float32(1 - BETAS[0]) * gradient
        square = np.float32(BETAS[1]) * square + np.float32(1 - BETAS[1]) * gradient**2
    return average, square


def digits() -> Moments:
    """A classifier of scikit-learn's digits, 64-256-10, by gradient descent."""
    from sklearn.datasets import load_digits

    rng = np.random.default_rng(0)
    data, labels = load_digits(return_X_y=True)
    data = (data / 16).astype(np.float32)
    first = (rng.standard_normal((64, 256)) / 8).astype(np.float32)
    second = (rng.standard_normal((256, 10)) / 16).astype(np.float32)

    def gradients() -> Iterator[np.ndarray]:
        for _ in range(STEPS):
            batch = rng.integers(0, len(data), 64)
            hidden = np.maximum(data[batch] @ first, 0)
            scores = hidden @ second
            chances = np.exp(scores - scores.max(axis=1, keepdims=True))
            chances /= chances.sum(axis=1, keepdims=True)
            chances[np.arange(64), labels[batch]] -= 1
            of_second = hidden.T @ chances / 64
            of_first = data[batch].T @ ((chances @ second.T) * (hidden > 0)) / 64
            first[...] -= np.float32(0.5) * of_first
            second[...] -= np.float32(0.5) * of_second
            yield np.concatenate([of_first.reshape(-1), of_second.reshape(-1)])

    return follow(gradients())


def factors() -> Moments:
    """A table of 3,000 rows of 32, of which few are used often and most seldom (Zipf)."""
    rng = np.random.default_rng(1)
    table = rng.standard_normal((3000, 32)).astype(np.float32)
    target = rng.standard_normal((3000, 32)).astype(np.float32)

    def gradients() -> Iterator[np.ndarray]:
        for _ in range(STEPS):
            used = np.minimum(rng.zipf(1.3, 256) - 1, 2999)
            gradient = np.zeros_like(table)
            noise = rng.standard_normal((256, 32)).astype(np.float32)
            np.add.at(gradient, used, (table[used] - target[used] + noise) / 256)
            table[...] -= gradient
            yield gradient.reshape(-1)

    return follow(gradients())


def normal(deviation: np.ndarray) -> Moments:
    rng = np.random.default_rng(2)
    return follow(
        (rng.standard_normal(deviation.size) * deviation).astype(np.float32) for _ in range(STEPS)
    )


def wide() -> Moments:
    """Neighbours of very different size: deviations over six decades."""
    return normal(10 ** np.random.default_rng(3).uniform(-6, 0, 32_768))


def outlier() -> Moments:
    """One element in 256 has gradients 10,000 times as large."""
    return normal(np.where(np.arange(32_768) % 256 == 77, 1.0, 1e-4))


SOURCES = {"digits": digits, "rare rows": factors, "six decades": wide, "outliers": outlier}
