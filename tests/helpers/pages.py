"""The pages of the documentation, and what is in them."""

import re
import textwrap
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
FENCE = re.compile(
    r"^(?:<!-- needs: (?P<needs>[^\n]*) -->\n+)?"
    r"(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.DOTALL | re.MULTILINE,
)


class Block(NamedTuple):
    """A block of code: its language, its text, the line of it, and what it needs to run."""

    language: str
    text: str
    line: int
    needs: tuple[str, ...]


def name(page):
    """A page as the tests call it."""
    return page.relative_to(DOCS).as_posix()


def blocks(page):
    """The fenced blocks of a page."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            found["language"],
            textwrap.dedent(found["text"]),
            text.count("\n", 0, found.start("text")) + 1,
            tuple((found["needs"] or "").split()),
        )
        for found in FENCE.finditer(text)
    ]


def prose(page):
    """A page without its code."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    return re.sub(r"(`+).+?\1", "", text, flags=re.DOTALL)
