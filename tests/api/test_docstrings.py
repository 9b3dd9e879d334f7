"""What help() shows of rules and of their functions."""

import inspect
import re
import subprocess
import sys

import numpy as np

import fusedstep as fs
from cases import every_rule
from fusedstep._definition import registry
from fusedstep._docstring import described
from fusedstep._formats import STORAGE_OPTIONS
from fusedstep._options import Choice
from fusedstep._pipeline import GROUP_OPTIONS, Pipeline, Policy

COUPLED = "is added to the gradient (L2\nregularisation)"


def head(name, doc):
    return re.search(rf"^{re.escape(name)}(?: : (.*))?$", doc, re.MULTILINE)[1]


@every_rule
def test_every_option_is_described_in_the_order_of_the_signature(rule):
    cls = registry[rule]
    signature = inspect.signature(cls)
    texts = described(cls.__doc__)
    assert [*texts] == [str(p).split(":")[0] for p in signature.parameters.values()]
    assert all(len(text) > 15 and text.endswith(".") for text in texts.values()), texts
    for name, parameter in list(signature.parameters.items())[1:-1]:
        assert head(name, cls.__doc__).endswith(f", default {parameter.default!r}")
    assert head("lr", cls.__doc__).startswith("float >= 0 or schedule, ")
    assert "function of the number of completed steps" in texts["lr"]
    assert all(name in texts["**pipeline"] for name in Pipeline.__annotations__)


def test_choices_are_described_as_they_are_checked():
    for name, option in STORAGE_OPTIONS.items():
        if isinstance(option.kind, Choice):
            choices = option.kind.documented.replace("None, ", "").replace("'", '"')
            assert head(name, inspect.getdoc(fs.Optimizer)).startswith(choices)


@every_rule
def test_functions_describe_what_they_take(rule):
    function = getattr(fs.functional, rule)
    texts = described(function.__doc__)
    signature = inspect.signature(function)
    assert [*texts] == [str(p).split("=")[0].split(":")[0] for p in signature.parameters.values()]
    assert all(len(text) > 15 and text.endswith(".") for text in texts.values()), texts
    for name, parameter in list(signature.parameters.items())[4:]:
        assert head(name, function.__doc__).endswith(f", default {parameter.default!r}")
    assert "number of completed steps" not in texts["lr"]
    assert head("lr", function.__doc__).startswith("float >= 0, ")
    assert "ema_decay" not in function.__doc__
    assert registry[rule].__doc__.split("\n")[0] in function.__doc__
    assert rule in repr(function)
    assert rule in dir(fs.functional)


@every_rule
def test_the_sections_of_a_rule(rule):
    doc = registry[rule].__doc__
    sections = re.findall(r"^(\w+)\n-+$", doc, re.MULTILINE)
    assert sections == ["Parameters", "Notes", "References"]
    before, notes = doc.split("Notes\n-----\n")
    assert "::" in before
    for word in ("State: ", "efault", "Elsewhere under this name: "):
        assert word in notes, word
    for state in registry[rule].info.states[-1]:
        assert f"``{state}``" in notes


@every_rule
def test_a_decay_of_its_own_is_not_described_as_added_to_the_gradient(rule):
    cls = registry[rule]
    own = "weight_decay" in cls.info.scalars
    assert (COUPLED in described(cls.__doc__)["weight_decay"]) is not own


def test_the_options_of_the_whole_step():
    doc = inspect.getdoc(fs.Optimizer)
    texts = described(doc)
    assert [*texts] == ["params", *Pipeline.__annotations__]
    assert all(len(text) > 15 and text.endswith(".") for text in texts.values()), texts
    defaults = vars(Policy()) | {name: o.default for name, o in GROUP_OPTIONS.items()}
    for name in Pipeline.__annotations__:
        default = defaults[name]
        expected = "optional" if default is None else f"default {default!r}"
        assert head(name, doc).endswith(expected.replace("'", '"'))


def test_a_rule_of_ones_own_has_the_words_of_its_base():
    class Careful(fs.SGD):
        """A rule with fewer options::

            p = p - lr * g

        Parameters
        ----------
        momentum
            Something else.

        Notes
        -----
        None.
        """

        rule = "sgd"

    try:
        texts = described(Careful.__doc__)
        assert texts["momentum"] == "Something else."
        assert texts["nesterov"] == described(fs.SGD.__doc__)["nesterov"]
        assert Careful.__doc__.count("of the number of completed steps") == 1
        assert Careful.__doc__.endswith("Notes\n-----\nNone.\n")
        Careful(np.zeros(2)).step(np.ones(2))
    finally:
        registry["sgd"] = fs.SGD


def test_without_docstrings():
    code = "import fusedstep as fs; print(fs.Adam.__doc__, fs.functional.adam.__doc__)"
    done = subprocess.run(
        [sys.executable, "-OO", "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    assert done.stdout == "None None\n"
