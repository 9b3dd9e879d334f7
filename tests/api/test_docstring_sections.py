"""numpydoc's validation of the docstrings of all that is public."""

import importlib
import inspect
import pkgutil

import pytest

import fusedstep as fs

# What is not asked for, and why.
EXCEPT = {
    "ES01": "one sentence often says all",
    "EX01": "examples are in the tutorials, and where they explain",
    "SA01": "what belongs together is linked in the text",
    "RT01": "the summary of a function without this section says what is returned",
    "YD01": "as RT01",
    "SS05": "summaries may name what is returned, as ruff's D401 would not have it",
    "PR04": "types are in the signature: help() shows both",
    "PR08": "a description may begin with the name of a variable",
}


def modules():
    yield fs
    for found in pkgutil.walk_packages(fs.__path__, "fusedstep."):
        if not any(part.startswith("_") for part in found.name.split(".")):
            try:
                yield importlib.import_module(found.name)
            except ImportError:  # cuda without its module, torch where it is not installed
                continue


def public_names():
    """The paths of all public classes, functions, methods and properties, each object once."""
    seen = {}
    for module in modules():
        for name in getattr(module, "__all__", None) or dir(module):
            value = getattr(module, name)
            own = getattr(value, "__module__", "").startswith("fusedstep")
            if name.startswith("_") or not (own and callable(value)):
                continue
            seen.setdefault(id(value), f"{module.__name__}.{name}")
            for member, inner in vars(value).items() if inspect.isclass(value) else ():
                is_method = inspect.isfunction(inner) or isinstance(inner, property)
                if is_method and not member.startswith("_"):
                    seen.setdefault(id(inner), f"{module.__name__}.{name}.{member}")
    return sorted(seen.values())


def excused(name, code, validator):
    """Whether a finding is none: what numpydoc does not know of."""
    return (
        (code == "SS03" and validator.summary.endswith("::"))  # which leads to a formula
        # A docstring without the section says in its text what its parameters are.
        or (code == "PR01" and not validator.doc_parameters)
        # Its keywords are those of every rule.
        or (name == "fusedstep.Optimizer" and code in ("PR01", "PR02"))
    )


def test_docstrings_are_valid():
    validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed")
    names = public_names()
    assert {"fusedstep.Optimizer.step", "fusedstep.functional.adam"} < {*names}
    assert len(names) > 150
    found = []
    for name in names:
        validator = validate.Validator(validate.get_doc_object(validate.Validator._load_obj(name)))
        found += [
            f"{name}: {code} {text}"
            for code, text in validate.validate(name)["errors"]
            if not (code in EXCEPT or excused(name, code, validator))
        ]
    assert found == []


def test_every_exception_is_needed():
    validate = pytest.importorskip("numpydoc.validate", reason="numpydoc is not installed")
    assert {*EXCEPT} <= {*validate.ERROR_MSGS}
    needed = {code for name in public_names() for code, _ in validate.validate(name)["errors"]}
    assert {*EXCEPT} - needed == set()
