"""What notebooks show of an object, read as a document."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser


class Balanced(HTMLParser):
    """Raises where an element is not closed in its place."""

    def __init__(self, document):
        super().__init__()
        self.open = []
        self.feed(document)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(thing):
    """The document of an object, which is both HTML and XML."""
    document = thing._repr_html_()
    Balanced(document)
    assert len(document) < 20_000
    return ET.fromstring(document)


def words(element):
    return " ".join("".join(element.itertext()).split())


def table(document):
    """The texts of the cells by that of the first one in their row."""
    rows = [[words(cell) for cell in row] for row in document.iter("tr")]
    return {row[0]: row[1:] for row in rows}
