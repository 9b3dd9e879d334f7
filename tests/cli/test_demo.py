"""``fusedstep demo``: its options, its progress, and what happens where something goes wrong."""

import json
import os
import re
import subprocess
import sys

import pytest

from fusedstep._cli.demos import DEMOS
from fusedstep._cli.main import main
from terminal import stderr_on_a_terminal

NAMES = [demo.name for demo in DEMOS]

# Ctrl-C at the third unit of the computation, or the third frame of the animation.
INTERRUPTED = """
import contextlib, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a test run in the background
from fusedstep._cli import demo
from fusedstep._cli.main import main
progress = demo.progress

@contextlib.contextmanager
def interrupted(title, total, unit, quiet):
    with progress(title, total, unit, quiet) as advance:
        calls = []
        def tick():
            advance()
            calls.append(unit)
            if calls == [sys.argv[1]] * 3:
                signal.raise_signal(signal.SIGINT)
        yield tick

demo.progress = interrupted
sys.exit(main(sys.argv[2:]))
"""


def environment(**changes):
    # An editable installation that rebuilds would report that on standard output.
    return os.environ | {"SKBUILD_EDITABLE_VERBOSE": "0"} | changes


def python(*args, **options):
    options = {"capture_output": True, "text": True, "timeout": 120, "env": environment()} | options
    return subprocess.run([sys.executable, *args], check=False, **options)


@pytest.fixture
def libraries():
    for module in ("matplotlib", "sklearn", "tqdm"):
        pytest.importorskip(module)


@pytest.fixture
def must_not_compute(monkeypatch):
    def compute(*_):
        pytest.fail("it was computed")

    monkeypatch.setattr("fusedstep._cli.demos.ravine.compute", compute)


# Options -----------------------------------------------------------------------------------------


def test_the_list(capsys):
    assert main(["demo", "list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert max(map(len, lines)) <= 100
    assert main(["demo", "list", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == NAMES


@pytest.mark.usefixtures("libraries")
def test_a_figure_in_the_current_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "ema", "-q"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.endswith("\n\nFigure: ema.png\n")
    assert [path.name for path in tmp_path.iterdir()] == ["ema.png"]
    assert (tmp_path / "ema.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("libraries")
def test_a_figure_replaces_the_one_of_yesterday(tmp_path):
    old = tmp_path / "rates.svg"
    old.write_bytes(b"of yesterday" * 100_000)
    with old.open("rb") as opened:
        assert main(["demo", "rates", "-q", "-f", "svg", "-o", str(tmp_path)]) == 0
        assert opened.read(12) == b"of yesterday"  # as a whole, under those who are reading it
    assert old.read_bytes().startswith(b"<?xml")
    assert list(tmp_path.iterdir()) == [old]


def test_numbers_alone_need_no_matplotlib(tmp_path, monkeypatch, capsys):
    pytest.importorskip("tqdm")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["demo", "ravine", "--json", "-q"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert json.loads(said.out)["updates"] == 40
    assert list(tmp_path.iterdir()) == []


# Progress ----------------------------------------------------------------------------------------


@pytest.mark.usefixtures("libraries")
def test_off_a_terminal_progress_is_plain_lines(tmp_path, capsys):
    assert main(["demo", "saddle", "--json", "-o", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["paths"]
    assert "\r" not in said.err
    assert "\x1b" not in said.err
    lines = said.err.splitlines()
    assert [line.split()[0] for line in lines] == ["update"] * 10 + ["frame"] * 10
    assert (lines[9], lines[-1]) == ("update 180 of 180", "frame 37 of 37")
    assert sorted(os.listdir(tmp_path)) == ["saddle.gif", "saddle.png"]  # noqa: PTH208


@pytest.mark.usefixtures("libraries")
def test_on_a_terminal_there_are_bars(tmp_path):
    command = [sys.executable, "-m", "fusedstep", "demo", "plateau", "-o", tmp_path]
    returncode, said = stderr_on_a_terminal(command, environment())
    assert returncode == 0
    assert re.search(rb"\rplateau: +\d+%\|", said)
    assert re.search(rb"\rdrawing: +\d+%\|", said)
    assert b" of " not in said


@pytest.mark.parametrize("unit", ["update", "frame"])
@pytest.mark.usefixtures("libraries")
def test_ctrl_c(unit, tmp_path):
    done = python("-c", INTERRUPTED, unit, "demo", "ravine", "-q", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "fusedstep: interrupted\n")
    # Each file wholly or not at all.
    assert os.listdir(tmp_path) == ([] if unit == "update" else ["ravine.png"])  # noqa: PTH208


@pytest.mark.usefixtures("libraries")
def test_ctrl_c_takes_the_bar_away(tmp_path):
    command = [sys.executable, "-c", INTERRUPTED, "update", "demo", "ravine", "-o", tmp_path]
    returncode, said = stderr_on_a_terminal(command, environment())
    assert returncode == 130
    assert re.search(rb"\r *\rfusedstep: interrupted\r?\n$", said)


# What goes wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["missing", "file", "taken", "animation"])
@pytest.mark.usefixtures("must_not_compute")
def test_an_unwritable_output_is_found_before_the_work(folder, tmp_path, capsys):
    (tmp_path / "file").touch()
    (tmp_path / "taken" / "ravine.png").mkdir(parents=True)
    (tmp_path / "animation" / "ravine.gif").mkdir(parents=True)
    assert main(["demo", "ravine", "--output", str(tmp_path / folder)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    suffix = "gif" if folder == "animation" else "png"
    assert said.err.startswith(f"fusedstep: cannot write {tmp_path / folder}/ravine.{suffix}: ")
    assert said.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_found_before_the_work(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["demo", "ema", "--output", str(tmp_path)]) == 3
    assert "Permission denied" in capsys.readouterr().err


def test_the_check_of_the_output_leaves_files_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    old, new = tmp_path / "ravine.png", tmp_path / "ravine.gif"
    old.write_bytes(b"of yesterday")
    assert main(["demo", "ravine", "--output", str(tmp_path)]) == 3
    assert old.read_bytes() == b"of yesterday"
    assert not new.exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
@pytest.mark.usefixtures("libraries")
def test_a_full_disk_is_one_line(tmp_path, capsys):
    (tmp_path / "rates.png").symlink_to("/dev/full")
    assert main(["demo", "rates", "-q", "--output", str(tmp_path)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    line = f"fusedstep: cannot write {tmp_path}/rates.png: No space left on device\n"
    assert said.err == line
    assert os.listdir(tmp_path) == ["rates.png"]  # noqa: PTH208


@pytest.mark.parametrize(
    ("name", "module", "distribution"),
    [
        ("ema", "matplotlib", "matplotlib"),
        ("ema", "tqdm", "tqdm"),
        *((demo.name, *needed) for demo in DEMOS for needed in demo.needs),
    ],
)
@pytest.mark.usefixtures("libraries")
def test_a_missing_library_is_named(name, module, distribution, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module.partition(".")[0], None)
    assert main(["demo", name, "--output", str(tmp_path)]) == 3
    assert capsys.readouterr().err == (
        f"fusedstep: demo needs {distribution}, not installed here: pip install {distribution}\n"
    )


def test_all_missing_libraries_are_named_at_once(tmp_path, monkeypatch, capsys):
    for module in ("matplotlib", "sklearn", "tqdm"):
        monkeypatch.setitem(sys.modules, module, None)
    assert main(["demo", "--output", str(tmp_path)]) == 3
    assert capsys.readouterr().err == (
        "fusedstep: demo needs matplotlib, scikit-learn and tqdm, not installed here: "
        "pip install matplotlib scikit-learn tqdm\n"
    )
