"""The demos that train, with shorter trainings."""

import importlib
from contextlib import contextmanager

import pytest

from fusedstep._cli.demos import batches

SHORT = {
    "digits": {"N_UNITS": 4},
    "batches": {
        "SIZES": [
            size._replace(epochs=epochs)
            for size, epochs in zip(batches.SIZES, (2, 4, 6, 8, 30), strict=True)
        ]
    },
    "standardise": {"N_UNITS": 4, "EPOCHS": 15},
    "precision": {"N_UNITS": 12},
}


def module_of(name):
    return importlib.import_module(f"fusedstep._cli.demos.{name}")


@contextmanager
def shortened(name):
    """Within the block this demo, if it trains, trains less."""
    with pytest.MonkeyPatch.context() as patch:
        for constant, value in SHORT.get(name, {}).items():
            patch.setattr(module_of(name), constant, value)
        yield
