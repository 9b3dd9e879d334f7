"""The site builds without a warning, and each of its pages is whole in a browser."""

import importlib.util
import re
import shutil
from html.parser import HTMLParser
from urllib.parse import urldefrag, urljoin

import pytest

import browser as site
import pages

NEEDED = ("mkdocs", "material", "mkdocstrings", "math_core", "torch", "optax", "matplotlib")
MISSING = [name for name in NEEDED if not importlib.util.find_spec(name)]
DRIVER, CHROMIUM = shutil.which("chromedriver"), shutil.which("chromium")
HAS_BROWSER = DRIVER and CHROMIUM and importlib.util.find_spec("selenium")

pytestmark = [
    pytest.mark.exhaustive,
    pytest.mark.skipif(bool(MISSING), reason=f"the site needs {', '.join(MISSING)}"),
    pytest.mark.xdist_group("site"),
]
in_a_browser = pytest.mark.skipif(not HAS_BROWSER, reason="needs chromium, chromedriver, selenium")
every_page = pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The built site."""
    folder = tmp_path_factory.mktemp("site")
    site.build(folder)
    return folder


@pytest.fixture(scope="module")
def browser():
    browser = site.Browser(CHROMIUM, DRIVER)
    yield browser
    browser.close()


@pytest.fixture(scope="module")
def server(folder):
    server, server.address = site.serve(folder)
    yield server
    server.shutdown()
    server.server_close()


class Contents(HTMLParser):
    """The anchors of a built page, and where its links lead."""

    def __init__(self, file):
        super().__init__()
        self.anchors, self.links = {"", "__codelineno-0-1"}, []
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        named = dict(attrs)
        self.anchors |= {named.get("id", ""), named.get("name", "")}
        if tag == "a" and "href" in named:
            self.links.append(named["href"])


def address(page):
    """Where a page is on the site."""
    return re.sub(r"(index)?\.md$", lambda found: "" if found[1] else "/", pages.name(page))


def test_no_link_of_the_site_is_dead(folder):
    files = {"": folder / "index.html"} | {
        f"{file.parent.relative_to(folder).as_posix()}/": file
        for file in folder.rglob("index.html")
        if file.parent != folder
    }
    assert {address(page) for page in pages.PAGES} == files.keys()
    contents = {path: Contents(file) for path, file in files.items()}
    dead = []
    for path, page in contents.items():
        for link in page.links:
            target, anchor = urldefrag(urljoin(f"http://here/{path}", link))
            if target.startswith("http://here/"):
                inner = target.removeprefix("http://here/")
                if inner in contents:
                    is_alive = anchor in contents[inner].anchors
                else:
                    is_alive = (folder / inner).is_file()
                if not is_alive:
                    dead.append((path, link))
    assert dead == []
    assert sum(len(page.links) for page in contents.values()) > 1000


def test_the_site_shows_what_the_reference_names(folder):
    for page in pages.PAGES:
        shown = re.findall(r"^::: (\S+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        html = (folder / address(page) / "index.html").read_text(encoding="utf-8")
        for path in shown:
            assert f'id="{path}"' in html or "show_root_heading: false" in page.read_text(), path
        # Nothing of reStructuredText, and no formula, has been left as it was.
        text = re.sub(r"<(script|code|pre)\b.*?</\1>", "", html, flags=re.DOTALL)
        assert re.findall(r":\w+:`|\.\. \w+::|\$\$|class=\"arithmatex", text) == []


@in_a_browser
@every_page
def test_a_page_is_whole(page, browser, server):
    server.answers.clear()
    browser.set_width(1280)
    browser.open(server.address + address(page))
    assert_fits(page, browser)
    browser.set_width(390)
    assert_fits(page, browser)
    assert browser.complaints() == []
    requests = browser.requests()
    assert len(requests) > 5
    own = (server.address, "data:", "blob:")
    assert [one for one in requests if one[1] or not one[0].startswith(own)] == []
    assert [answer for answer in server.answers if answer[1] not in (200, 304)] == []


def assert_fits(page, browser):
    """Formulas and images are shown, and nothing is wider than the screen."""
    assert browser.run("return document.querySelector('h1').getBoundingClientRect().width") > 0
    overflow = "const { scrollWidth, clientWidth } = document.documentElement; "
    assert browser.run(f"{overflow} return scrollWidth - clientWidth") == 0
    formulas = browser.run(
        "return [...document.querySelectorAll('math')].map(formula => "
        "{ const { width, height } = formula.getBoundingClientRect(); return [width, height] })"
    )
    assert all(width > 3 and height > 3 for width, height in formulas), formulas
    assert bool(formulas) >= ("$$" in pages.prose(page))
    images = browser.run(
        "return [...document.querySelectorAll('article img')].map(image => "
        "[image.complete && image.naturalWidth, image.getBoundingClientRect().width])"
    )
    assert all(natural > 50 and shown > 50 for natural, shown in images), images
    assert len(images) == len(re.findall(r"!\[", pages.prose(page)))


@in_a_browser
@pytest.mark.parametrize(
    ("words", "found"), [("weight_decay", "rules/adam/"), ("momentum", "rules/sgd/")]
)
def test_search_finds(words, found, browser, server):
    browser.set_width(1280)
    browser.open(server.address)
    browser.type("[data-md-component=search-query]", words)
    results = browser.wait(
        "return [...document.querySelectorAll('.md-search-result__link')].map(link => link.href)"
    )
    assert any(found in link for link in results), results
    assert browser.complaints() == []


@in_a_browser
def test_what_is_amiss_is_noticed(browser, tmp_path):
    (tmp_path / "index.html").write_text(
        "<!doctype html><script>console.error('amiss')</script><img src=missing.png>"
        "<img src=http://elsewhere.invalid/image.png>"
    )
    server, here = site.serve(tmp_path)
    browser.open(here)
    server.shutdown()
    server.server_close()
    assert any("amiss" in complaint for complaint in browser.complaints())
    assert (
        "http://elsewhere.invalid/image.png",
        "net::ERR_NAME_NOT_RESOLVED",
    ) in browser.requests()
    assert ("/missing.png", 404) in server.answers
