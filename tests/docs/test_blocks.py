"""Each block of Python in the documentation runs, from the top of its page to the bottom."""

import doctest
import importlib.util

import pytest

import pages


def is_here(need):
    """Whether a library is installed, or there is a CUDA device, of which torch knows."""
    if need != "cuda":
        return importlib.util.find_spec(need) is not None
    return is_here("torch") and importlib.import_module("torch").cuda.is_available()


def run(block, page, names):
    """Run a block; where it is a session (>>>), compare what it prints."""
    if not block.text.startswith(">>> "):
        lines = "\n" * (block.line - 1) + block.text  # as a traceback counts them
        exec(compile(lines, page, "exec"), names)  # noqa: S102
        return
    session = doctest.DocTestParser().get_doctest(
        block.text, names, page.name, page, block.line - 1
    )
    report = []
    failed = doctest.DocTestRunner().run(session, out=report.append, clear_globs=False).failed
    assert not failed, "".join(report)
    names |= session.globs


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names, missing = {"__name__": "__main__"}, set()
    for block in pages.blocks(page):
        if block.language == "python":
            missing |= (lacks := {need for need in block.needs if not is_here(need)})
            if not lacks:
                run(block, page, names)
    if libraries := missing - {"cuda"}:
        pytest.skip(f"needs {', '.join(sorted(libraries))}")
    if missing:
        pytest.skip("needs a CUDA device")


@pytest.mark.parametrize("page", pages.PAGES, ids=pages.name)
def test_no_block_is_overlooked(page):
    found = pages.blocks(page)
    assert {block.language for block in found} <= {"", "python", "sh"}
    lines = [line.strip() for line in page.read_text(encoding="utf-8").splitlines()]
    assert sum(line.startswith("```") for line in lines) == 2 * len(found)
    assert sum(line.startswith("<!-- needs:") for line in lines) == sum(
        bool(b.needs) for b in found
    )


def test_a_block_that_fails_is_noticed(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 1\n```\n\n```python\n>>> x\n2\n```\n\n```python\n1 / 0\n```\n")
    first, session, division = pages.blocks(page)
    run(first, page, names := {})
    with pytest.raises(AssertionError, match=r"Expected:\n +2\n +Got:\n +1"):
        run(session, page, names)
    with pytest.raises(ZeroDivisionError) as error:
        run(division, page, names)
    assert error.traceback[-1].lineno + 1 == page.read_text().splitlines().index("1 / 0") + 1
