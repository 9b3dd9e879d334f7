"""The cases: lists of tensors, and the contestants over them."""

from typing import NamedTuple

from ..harness.models import MODELS
from .rivals import ADAM, CLIP, PASSED, Rival

LARGEST = 1_000_000_000
# About how many float32 arrays the contestants of `flat` hold at once.
ARRAYS = 19


class Case(NamedTuple):
    name: str
    title: str
    sizes: list[int]
    rivals: dict[str, Rival]


def flat_size(free_bytes: int) -> int:
    """As many elements as there is room for, up to LARGEST, in whole millions if possible."""
    room = min(LARGEST, free_bytes // (4 * ARRAYS))
    return room // 1_000_000 * 1_000_000 or room


def cases(free_bytes: int, rehearsal: bool = False) -> list[Case]:
    """All of them; a rehearsal has few and small tensors."""

    def of(name: str) -> list[int]:
        return [max(1, size // 1000) for size in MODELS[name][:8]] if rehearsal else MODELS[name]

    flat = flat_size(free_bytes)
    # Passing gradients anew costs only the host, and hardly anything for one tensor.
    one_tensor = {name: rival for name, rival in ADAM.items() if name != PASSED}
    clip = "AdamW and clipping by norm"
    return [
        Case("gpt2", "GPT-2 124M", of("gpt2"), ADAM),
        Case("resnet50", "ResNet-50", of("resnet50"), ADAM),
        Case("mobilenetv2", "MobileNetV2", of("mobilenetv2"), ADAM),
        Case("mlp", "MLP 784-128-64-10", of("mlp"), ADAM),
        Case("small", "1,000 tensors of 1,000", [1000] * (8 if rehearsal else 1000), ADAM),
        Case("clip-gpt2", f"{clip}, GPT-2", of("gpt2"), CLIP),
        Case("clip-mobilenetv2", f"{clip}, MobileNetV2", of("mobilenetv2"), CLIP),
        # Last, since it needs all the memory.
        Case("flat", f"one tensor of {flat:,}", [flat], one_tensor),
    ]
