"""The models whose lists of tensors are measured."""

from pathlib import Path

# Elements of each tensor, by the model's name.
MODELS = {
    name: [int(size) for size in sizes]
    for name, *sizes in (
        line.split()
        for line in (Path(__file__).parents[1] / "models.txt").read_text().splitlines()
        if line and not line.startswith("#")
    )
}
