"""The table of contents of a page."""


def on_page_content(content, page, **_):
    """Do not list an object that stands below a heading of its own name once more."""
    for heading in page.toc:
        for section in heading.children:
            section.children = [c for c in section.children if c.title != section.title]
    return content
