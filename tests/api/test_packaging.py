"""What PyPI and pip show of the project: metadata, links, documents, and the error without a compiler."""

import importlib.metadata
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs
from native_tree import ENVIRONMENT

tomllib = pytest.importorskip("tomllib" if sys.version_info >= (3, 11) else "tomli")

ROOT = Path(__file__).parents[2]
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
PYTHONS = set(re.findall(r"Python :: (3\.\d+)\b", "\n".join(PROJECT["classifiers"])))
CI, WORKFLOW = ROOT / ".ci" / "run", ROOT / ".github" / "workflows" / "wheels.yml"
in_the_repository = pytest.mark.skipif(not CI.exists(), reason="a source distribution is without")


def installed(path):
    """A file of the installed distribution."""
    found = [file for file in importlib.metadata.files("fusedstep") if file.as_posix() == path]
    return Path(found[0].locate()) if found else None


def links(path):
    """The targets of a Markdown file's links and images, and those of references to them."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    pattern = r"\]\(\s*([^)\s]+)|^\[[^\]]+\]:\s*(\S+)|(?:href|src)=[\"']([^\"']+)"
    return [next(filter(None, groups)) for groups in re.findall(pattern, text, re.MULTILINE)]


def test_the_version_is_one():
    assert fs.__version__ == PROJECT["version"] == importlib.metadata.version("fusedstep")
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|rc\d+)?", fs.__version__)


@in_the_repository
def test_an_unreleased_version_says_so():
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1]
    assert newest == ("Unreleased" if ".dev" in PROJECT["version"] else PROJECT["version"])


def test_each_python_of_the_metadata_is_at_least_the_required_one():
    required = PROJECT["requires-python"].removeprefix(">=")
    assert min(PYTHONS, key=lambda version: int(version.split(".")[1])) == required
    assert importlib.metadata.metadata("fusedstep").get_all("Classifier") == PROJECT["classifiers"]


@in_the_repository
def test_each_python_of_the_metadata_is_tested_and_has_wheels():
    table = re.findall(r"^(3\.\d+)t? numpy", CI.read_text(), re.MULTILINE)
    assert set(table) == PYTHONS
    wheels = SETTINGS["tool"]["cibuildwheel"]["build"].split()
    assert sorted(wheels) == sorted(f"cp{version.replace('.', '')}-*" for version in PYTHONS)


@in_the_repository
def test_the_workflow_builds_for_each_platform():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    jobs = yaml.safe_load(WORKFLOW.read_text())["jobs"]
    matrix = jobs["wheels"]["strategy"]["matrix"]["include"]
    assert {(job["platform"], job["arch"]) for job in matrix} == {
        ("linux", "x86_64"),
        ("linux", "aarch64"),
        ("macos", "x86_64"),
        ("macos", "arm64"),
    }
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    (build,) = [command for command in commands if "cibuildwheel==" in command]
    assert "--platform ${{ matrix.platform }} --archs ${{ matrix.arch }}" in build
    # What the wheels are tested with is there.
    tests = re.findall(r"tests/\S+", SETTINGS["tool"]["cibuildwheel"]["test-command"])
    assert tests
    assert [path for path in tests if not (ROOT / path).exists()] == []


@in_the_repository
def test_the_site_is_published_from_main_alone():
    yaml = pytest.importorskip("yaml", reason="needs PyYAML")
    jobs = yaml.safe_load((WORKFLOW.parent / "docs.yml").read_text())["jobs"]
    assert "mkdocs build --strict --site-dir site" in [s.get("run") for s in jobs["build"]["steps"]]
    assert jobs["publish"]["needs"] == "build"
    assert jobs["publish"]["if"].startswith("github.ref == 'refs/heads/main' && ")
    allowed = {name: job.get("permissions") for name, job in jobs.items()}
    assert allowed == {"build": None, "publish": {"id-token": "write", "pages": "write"}}


def test_links_of_the_readme_work_elsewhere():
    source = PROJECT["urls"]["Source"]
    files = f"{source}/blob/main/"
    images = files.replace("github.com", "raw.githubusercontent.com").replace("/blob/", "/")
    found = links(ROOT / "README.md")
    assert len(found) > 5
    assert [link for link in found if not link.startswith(("https://", "#"))] == []
    assert [link for link in found if link.endswith(".png") and not link.startswith(images)] == []
    if CI.exists():
        own = [link for link in found if link.startswith((files, images))]
        paths = [link.removeprefix(files).removeprefix(images).split("#")[0] for link in own]
        assert [path for path in paths if not (ROOT / path).is_file()] == []
        assert len(paths) > 5
    # A reference without its definition is shown as text.
    text = re.sub(r"`[^`]*`|```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    used = re.findall(r"\[([\w/-]+\.(?:md|py|png))\](?!:)", text)
    assert set(used) == set(re.findall(r"^\[([^\]]+)\]:", text, re.MULTILINE))


def test_project_urls():
    urls = PROJECT["urls"]
    assert {"Source", "Documentation", "Changelog", "Issues"} <= set(urls)
    site = re.search(r"^site_url: (\S+)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)[1]
    assert urls["Documentation"] == site
    own = [url for name, url in urls.items() if name != "Documentation"]
    assert all(url.startswith(urls["Source"]) for url in own)
    given = importlib.metadata.metadata("fusedstep").get_all("Project-URL")
    assert sorted(given) == sorted(f"{name}, {url}" for name, url in urls.items())


def test_documents_that_docstrings_name_are_installed():
    package = Path(fs.__file__).parent
    named = {
        name
        for path in package.rglob("*.py")
        for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text(encoding="utf-8"))
    }
    assert {"docs/cuda.md", "docs/low-precision.md"} <= named
    assert [name for name in named if installed(f"fusedstep/{name}") is None] == []


def test_the_installed_documents_are_those_of_the_repository():
    for page in sorted((ROOT / "docs").rglob("*.md")):
        document = installed(f"fusedstep/{page.relative_to(ROOT).as_posix()}")
        assert document is not None, page
        assert document.read_text(encoding="utf-8") == page.read_text(encoding="utf-8")
        for link in links(document):
            path = link.partition("#")[0]
            if path and not link.startswith("https://"):
                # Figures are in the repository alone.
                folder = page if link.endswith((".png", ".gif")) else document
                assert (folder.parent / path).is_file(), (page, link)


def test_without_a_compiler_one_sentence_says_what_to_install(tmp_path):
    done = subprocess.run(
        ["cmake", "-S", ROOT, "-B", tmp_path, "-G", "Ninja", "-DFUSEDSTEP_PYTHON=OFF"],
        check=False,
        capture_output=True,
        text=True,
        env={**ENVIRONMENT, "CXX": str(tmp_path / "no-compiler")},
    )
    assert done.returncode != 0
    (error,) = re.findall(r"^CMake Error at .*?:\n\n?((?:  .+\n)+)", done.stderr, re.MULTILINE)
    sentence = " ".join(error.split())
    assert sentence.startswith("fusedstep is built with a C++17 compiler, and none was found")
    assert "apt install g++" in sentence
    assert sentence.count(". ") == 0
    assert "CMake Error" not in done.stderr.split(error)[1]
