"""Formulas become MathML when the site is built, so that a page needs no script to show them."""

import html
import re

from math_core import LatexToMathML

_FOUND = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content, **_):
    """Replace each formula that pymdownx.arithmatex has found; a mistake in one ends the build."""
    to_mathml = LatexToMathML()

    def replaced(found):
        tag, latex = found[1], html.unescape(found[2])
        formula = to_mathml.convert_with_local_state(latex, displaystyle=tag == "div")
        return f'<{tag} class="formula">{formula}</{tag}>'

    return _FOUND.sub(replaced, content)
