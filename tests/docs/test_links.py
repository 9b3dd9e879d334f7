"""Links among pages and into the repository lead somewhere; figures stand beside what draws them."""

import re
from pathlib import Path

import pytest

import pages
from fusedstep._cli.demos import DEMOS

SOURCE = re.compile(r"https://github\.com/fusedstep/fusedstep/(?:blob|tree)/main/([^#]*)")
every_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)


def links(text):
    """The targets of links, images and references."""
    found = re.findall(
        r"\]\(\s*<?([^)\s>]+)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=\"([^\"]+)", text, re.MULTILINE
    )
    return [next(filter(None, groups)) for groups in found]


def anchors(page):
    """The anchors of a page's headings, as GitHub makes them; the site's build checks its own."""
    headings = re.findall(
        r"^#+ (.+)$", pages.FENCE.sub("", page.read_text(encoding="utf-8")), re.MULTILINE
    )
    plain = [re.sub(r"[^\w\s-]", "", heading).strip().lower() for heading in headings]
    return {re.sub(r"[\s]", "-", heading) for heading in plain}


@every_page
def test_links_lead_somewhere(page):
    for link in links(pages.prose(page)):
        path, _, anchor = link.partition("#")
        if own := SOURCE.fullmatch(path):
            assert (pages.ROOT / own[1]).exists(), link
            assert (pages.ROOT / own[1]).is_dir() == ("/tree/" in link), link
        elif not link.startswith(("https://", "mailto:")):
            target = (page.parent / path).resolve() if path else page
            assert target.is_relative_to(pages.DOCS), link  # else the site is without
            assert target.is_file(), link
            assert not anchor or anchor in anchors(target), link


@every_page
def test_a_figure_stands_beside_the_command_that_draws_it(page):
    text = page.read_text(encoding="utf-8")
    for section in re.split(r"^#+ ", text, flags=re.MULTILINE):
        for figure in re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", section):
            name = Path(figure).stem
            if Path(figure).parent.name == "figures":
                assert re.search(rf"\bfusedstep demo {name}\b", section), figure
                assert name in [demo.name for demo in DEMOS]
            else:
                (module,) = re.findall(rf"python -m (bench\.{name}\.\w+)", section)
                assert (pages.ROOT / f"{module.replace('.', '/')}.py").is_file()


def test_every_figure_is_shown():
    shown = {
        (page.parent / link).resolve()
        for page in pages.PAGES
        for link in links(pages.prose(page))
        if not link.startswith("https://")
    }
    figures = pages.DOCS / "figures"
    assert [path.name for path in figures.glob("*") if path not in shown] == []
