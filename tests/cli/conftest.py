"""Fixtures of the tests of ``fusedstep bench``."""

import sys

import pytest

from fusedstep._cli import measurement


@pytest.fixture
def short(tmp_path, monkeypatch):
    """Short stretches, in a directory of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measurement, "STRETCH", 1e-4)


@pytest.fixture
def without(monkeypatch):
    """Hide libraries."""

    def hide(*modules):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide
