"""Docstrings as help() shows them, in Markdown.

Some are completed when their module is imported, so they are read off the imported objects.
"""

import inspect
import re
from importlib import import_module

import griffe

_ROLE = re.compile(r":(?:attr|class|func|meth|mod):`~?([\w.]+)`")
_MATH = re.compile(r":math:`([^`]+)`")
_MATH_BLOCK = re.compile(
    r"^( *)\.\. math::((?: [^\n]*)?\n(?:\n|\1 +[^\n]*(?:\n|$))*)", re.MULTILINE
)
_MATH_WORD = re.compile(
    r"\\(?:begin|end|text)\{[^}]*\}|\\[A-Za-z]+|([A-Za-z]{2,}(?:\\_[A-Za-z]+)*)"
)
_SESSION = re.compile(r"^( *)>>> [^\n]*\n(?: *\S[^\n]*(?:\n|$))*", re.MULTILINE)
# Where names are looked up that a docstring gives without their module.
_SCOPES = ("fusedstep", "fusedstep.Optimizer", "fusedstep.schedules", "fusedstep.checkpoint")


class ShownByHelp(griffe.Extension):
    """Replace the docstring of each object that is read from the source."""

    def on_object(self, *, obj, loader, **_):
        """Take the one that the imported object has."""
        imported = _imported(obj.path)
        doc = inspect.getdoc(imported)
        if doc and (obj.docstring or inspect.isclass(imported)):
            scopes = (obj.path, obj.path.rpartition(".")[0], obj.module.path, *_SCOPES)
            obj.docstring = griffe.Docstring(
                _as_markdown(doc, scopes),
                parent=obj,
                parser=loader.docstring_parser,
                parser_options=loader.docstring_options,
            )


def _imported(path):
    """The object at a path; None where there is none, as of annotations and instance attributes."""
    module, *names = path.split(".")
    here = import_module(module)
    for name in names:
        module = f"{module}.{name}"
        if not hasattr(here, name) and inspect.ismodule(here):
            try:
                here = import_module(module)
            except ImportError:
                return None
        else:
            here = getattr(here, name, None)
    return here


def _as_markdown(doc, scopes):
    doc = _MATH_BLOCK.sub(lambda found: f"{found[1]}$${_latex(found[2])}$$\n\n", doc)
    doc = _MATH.sub(lambda found: f"${_latex(found[1])}$", doc)
    doc = _SESSION.sub(r"\1```pycon\n\g<0>\n\1```\n", doc)
    doc = _ROLE.sub(lambda found: _link(found[1], scopes), doc)
    before, title, sources = doc.partition("\nReferences\n----------\n")
    before = re.sub(r"::$", ":", before, flags=re.MULTILINE)
    return before + title + sources.replace("\n", "  \n")  # one a line


def _latex(formula):
    """A formula on one line, whose names of several letters are words, not products."""
    words = _MATH_WORD.sub(lambda f: rf"\mathrm{{{f[1]}}}" if f[1] else f[0], formula)
    return " ".join(words.split())


def _link(name, scopes):
    paths = [name] if name.startswith("fusedstep") else [f"{scope}.{name}" for scope in scopes]
    path = next((path for path in paths if _imported(path) is not None), name)
    return f'<autoref identifier="{path}" optional>`{name}`</autoref>'
