"""Runs PyTorch's own tests of its optimizers with ours in their place.

    git clone --depth 1 --branch v2.13.0 https://github.com/pytorch/pytorch
    python tests/torch/pytorch_suite.py pytorch/test/test_optim.py pytorch/test/optim/test_lrscheduler.py

Arguments are pytest's. Three things are not compared: the words of errors for invalid options, since
ours name the option, what was expected and what came; which implementation is chosen (`foreach`,
`fused`, `capturable`), since here there is one; and classes that fusedstep.torch does not have.
docs/torch.md has the counts, and each test that does not pass with its reason.
"""

import re
import sys
import unittest

import pytest
import torch

import fusedstep.torch as ours

CHOICES = ("foreach", "fused", "capturable")


def choose_nothing(construct):
    def wrapper(self, *args, **options):
        construct(self, *args, **{k: v for k, v in options.items() if k not in CHOICES})

    return wrapper


def compare_no_words(check):
    def wrapper(self, error, expected, *args, **kwargs):
        if str(getattr(expected, "pattern", expected)).startswith("Invalid "):
            expected = re.compile("expected")
        return check(self, error, expected, *args, **kwargs)

    return wrapper


def main() -> int:
    ours.Optimizer.__init__ = choose_nothing(ours.Optimizer.__init__)
    unittest.TestCase.assertRaisesRegex = compare_no_words(unittest.TestCase.assertRaisesRegex)
    for name in ours.__all__:
        if name != "Optimizer" and hasattr(torch.optim, name):
            setattr(torch.optim, name, getattr(ours, name))
    return pytest.main([*sys.argv[1:], "-p", "no:cacheprovider", "--rootdir", "."])


if __name__ == "__main__":
    sys.exit(main())
