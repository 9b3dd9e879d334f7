"""`python -m bench.codes.compare`: prints the tables of docs/low-precision.md, "Choice of codes"."""

import argparse

import numpy as np

from .codecs import CODECS, Codec
from .moments import BETAS, SOURCES, STEPS, Moments

EPS = 1e-8
COUNT = 4096  # elements of a long average
STEP, ELEMENT = 0x9E3779B9, 0xC13FA9A9  # cpp/formats/rounding.hpp


def weyl(step: int, count: int) -> np.ndarray:
    elements = np.arange(count, dtype=np.uint64) * np.uint64(ELEMENT)
    return ((np.uint64(step * STEP % 2**32) + elements) % np.uint64(2**32)).astype(np.uint32)


def direction(average: np.ndarray, square: np.ndarray) -> np.ndarray:
    root = np.sqrt(square.astype(np.float64) / (1 - BETAS[1] ** STEPS))
    return average / (1 - BETAS[0] ** STEPS) / (root + EPS)


def of_step(codec: Codec, moments: Moments) -> tuple[float, float, float]:
    """The update's relative error, its angle in degrees, and the share of squares that become 0.

    The error is that of the elements whose squares do not: of the others the step is m / eps, and the
    angle shows it.
    """
    average, square = moments
    words = weyl(STEPS, average.size)
    stored = codec.square(square, words)
    used = square > 0
    exact = direction(average, square)
    ours = direction(codec.average(average, words), stored)
    kept = used & (stored > 0)
    error = np.linalg.norm((ours - exact)[kept]) / np.linalg.norm(exact[kept])
    cosine = exact[used] @ ours[used] / np.linalg.norm(exact[used]) / np.linalg.norm(ours[used])
    return error, np.degrees(np.arccos(np.clip(cosine, -1, 1))), 1 - kept.sum() / used.sum()


def of_average(codec: Codec, way: str, steps: int) -> tuple[float, float]:
    """sqrt(exp_avg_sq) to float32's, mean and deviation, where it is stored after each step.

    The gradients are normal, with deviations of a decade; for `steps` steps, and then, if they fall,
    for as many of a tenth.
    """
    rng, f = np.random.default_rng(4), np.float32
    deviation = 10 ** rng.uniform(-1, 0, COUNT)
    exact = stored = np.zeros(COUNT, f)
    for step in range(1, (2 if way == "falls" else 1) * steps + 1):
        level = deviation if step <= steps else deviation / 10
        square = (rng.standard_normal(COUNT) * level).astype(f) ** 2
        exact, stored = (f(BETAS[1]) * v + f(1 - BETAS[1]) * square for v in (exact, stored))
        stored = codec.square(stored, weyl(step, COUNT))
    ratio = np.sqrt(stored / exact)
    return float(np.mean(ratio)), float(np.std(ratio))


def row(*cells: str) -> None:
    print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=3000, help="of the long averages")
    steps = parser.parse_args().steps
    sources = {name: make() for name, make in SOURCES.items()}
    print("Error of the update, its angle, squares that become 0\n")
    row("Code", "Bytes", *sources)
    row("---", *["---"] * (1 + len(sources)))
    for codec in CODECS:
        figures = [of_step(codec, moments) for moments in sources.values()]
        row(
            codec.name,
            f"{codec.bytes:.2f}",
            *(f"{error:.1%}, {angle:.1f}°, {lost:.2%}" for error, angle, lost in figures),
        )
    print(f"\nsqrt(exp_avg_sq) to float32's, {steps} steps\n")
    row("Code", "from 0", "after a fall to a tenth")
    row("---", "---", "---")
    for codec in CODECS:
        figures = [of_average(codec, way, steps) for way in ("rises", "falls")]
        row(codec.name, *(f"{mean:.3f} ± {deviation:.3f}" for mean, deviation in figures))


if __name__ == "__main__":
    main()
