"""Runs PyTorch's own tests of its optimizers with ours in their place.

    git clone --depth 1 --branch v2.13.0 https://github.com/pytorch/pytorch
    python tests/torch/pytorch_suite.py pytorch/test/test_optim.py pytorch/test/optim/test_lrscheduler.py

Arguments are pytest's. Three things are not compared: the words of errors for invalid arguments, since
ours name the argument, what was expected and what came; which implementation is chosen (`foreach`,
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
# Of errors in whose place ours say what they expected.
WORDS = ("Invalid ", "Tensor lr must be", "SparseAdam requires", "SparseAdam does not support comp")


def choose_nothing(construct):
    def wrapper(self, *args, **options):
        construct(self, *args, **{k: v for k, v in options.items() if k not in CHOICES})

    return wrapper


def compare_no_words(check):
    def wrapper(self, error, expected, *args, **kwargs):
        if str(getattr(expected, "pattern", expected)).startswith(WORDS):
            expected = re.compile("expected")
        return check(self, error, expected, *args, **kwargs)

    return wrapper


def go_through_ours_alone():
    """Of the optimizers that the suite goes through, which it takes from torch.optim, leave ours."""
    from torch.testing._internal.common_optimizers import optim_db

    optim_db[:] = [info for info in optim_db if issubclass(info.optim_cls, ours.Optimizer)]
    for info in optim_db:
        info.supported_impls = tuple(i for i in info.supported_impls if i != "differentiable")
        info.optim_error_inputs_func = without_choices(info.optim_error_inputs_func)


def without_choices(error_inputs):
    def wrapper(device, dtype):
        return [
            one
            for one in error_inputs(device, dtype)
            if not any(one.optimizer_error_input.kwargs.get(name) for name in CHOICES)
        ]

    return wrapper


def main() -> int:
    ours.Optimizer.__init__ = choose_nothing(ours.Optimizer.__init__)
    unittest.TestCase.assertRaisesRegex = compare_no_words(unittest.TestCase.assertRaisesRegex)
    for name in ours.__all__:
        if name != "Optimizer" and hasattr(torch.optim, name):
            setattr(torch.optim, name, getattr(ours, name))
    go_through_ours_alone()
    return pytest.main([*sys.argv[1:], "-p", "no:cacheprovider", "--rootdir", "."])


if __name__ == "__main__":
    sys.exit(main())
