"""The command line where its surroundings are broken: one line and an exit code, no traceback."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from fusedstep._cli import measurement
from fusedstep._cli.main import main

# The command line with short stretches, and without torch, whose import takes a second.
QUICK = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in a test run in the background
sys.argv[0] = "fusedstep"
sys.modules["torch"] = None
from fusedstep._cli import main, measurement
measurement.STRETCH = 1e-4
sys.exit(main.main())
"""
BENCH = ("bench", "--sizes", "100")
needs_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")


def environment(**changes):
    # An editable installation that rebuilds would report that on standard output.
    return os.environ | {"SKBUILD_EDITABLE_VERBOSE": "0"} | changes


def fusedstep(*args, redirect="", cwd, **changes):
    """Run the command line from a shell that redirects its streams."""
    return subprocess.run(
        ["sh", "-c", f'exec "$@" {redirect}', "sh", sys.executable, "-c", QUICK, *args],
        check=False,
        capture_output=True,
        timeout=120,
        cwd=cwd,
        env=environment(**changes),
    )


# Standard output and error -----------------------------------------------------------------------


@pytest.mark.parametrize("args", [("info",), ("--help",), ("--version",), BENCH])
def test_a_closed_output_is_one_line(args, tmp_path):
    done = fusedstep(*args, redirect=">&-", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, b"fusedstep: standard output is closed\n")
    assert list(tmp_path.iterdir()) == []
    done = fusedstep(*args, redirect="<&- >&- 2>&-", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (3, b"")


@needs_full
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("args", [("info",), ("--help",), ("--version",), ("bench", "--help")])
def test_an_output_that_takes_nothing(args, unbuffered, tmp_path):
    done = fusedstep(*args, redirect=">/dev/full", cwd=tmp_path, PYTHONUNBUFFERED=unbuffered)
    assert done.returncode == 3
    assert done.stderr == b"fusedstep: [Errno 28] No space left on device\n"


@pytest.mark.parametrize("redirect", ["2>&-", pytest.param("2>/dev/full", marks=needs_full)])
def test_nobody_need_read_the_errors(redirect, tmp_path):
    pytest.importorskip("matplotlib")
    done = fusedstep(*BENCH, redirect=redirect, cwd=tmp_path)
    assert done.returncode == 0
    assert done.stdout.endswith(b"\nPicture: fusedstep-bench.png\n")
    picture = (tmp_path / "fusedstep-bench.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    for wrong, code in [("--rule=adamx", 2), ("--output=missing/b.png", 3)]:
        done = fusedstep("bench", wrong, redirect=redirect, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (code, b"")


@pytest.mark.parametrize(
    ("variables", "printed"),
    [
        ({"PYTHONIOENCODING": "ascii"}, rb"\xe9.png"),
        ({"PYTHONIOENCODING": "ascii:surrogateescape"}, rb"\xe9.png"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}, "é.png".encode()),
        ({"LC_ALL": "C", "PYTHONUTF8": "0"}, "é.png".encode()),
    ],
)
def test_names_that_the_output_cannot_encode(variables, printed, tmp_path):
    pytest.importorskip("matplotlib")
    done = fusedstep(*BENCH, "-q", "-o", "é.png", cwd=tmp_path, **variables)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\nPicture: " + printed + b"\n")
    assert os.listdir(os.fsencode(tmp_path)) == ["é.png".encode()]  # noqa: PTH208
    done = fusedstep(*BENCH, "-q", "-o", "é.pdf", cwd=tmp_path, **variables)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


# What is written to ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "args"),
    [("ema.png", ("demo", "ema", "-q")), ("pipe.png", ("bench", "-q", "-o", "pipe.png"))],
)
def test_a_pipe_is_no_picture(name, args, tmp_path):
    os.mkfifo(tmp_path / name)
    done = fusedstep(*args, cwd=tmp_path)
    line = f"fusedstep: cannot write {name}: it is not a file\n".encode()
    if b"matplotlib" not in done.stderr:
        assert (done.returncode, done.stdout, done.stderr) == (3, b"", line)


def test_a_link_to_nothing_is_left_as_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    (tmp_path / "ema.png").symlink_to("target.png")
    assert main(["demo", "ema", "-o", str(tmp_path)]) == 3
    assert "tqdm" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["ema.png"]  # noqa: PTH208


def test_a_picture_that_nobody_asked_for_stops_nothing(tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(measurement, "STRETCH", 1e-4)
    monkeypatch.chdir(tmp_path)
    Path("fusedstep-bench.png").mkdir()
    assert main([*BENCH, "-q"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert said.out.endswith("\nNo picture: cannot write fusedstep-bench.png: Is a directory.\n")


# Broken libraries --------------------------------------------------------------------------------

FAILURES = {
    "ImportError('libx.so: no such file\\nand more')": "ImportError: libx.so: no such file",
    "ValueError('numpy.dtype size changed')": "ValueError: numpy.dtype size changed",
    "SystemExit(0)": "SystemExit: 0",
}


@pytest.fixture(params=FAILURES)
def broken(request, tmp_path, monkeypatch):
    """Replace libraries by such as fail to be imported; returns the words about it."""

    def replace(*names):
        for loaded in [*sys.modules]:
            if loaded.startswith((*names, "fusedstep._cli.bench_figure")):
                monkeypatch.delitem(sys.modules, loaded)
        for name in names:
            (tmp_path / f"{name}.py").write_text(f"raise {request.param}\n")
        monkeypatch.syspath_prepend(tmp_path)
        return f"its import fails with {FAILURES[request.param]}"

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measurement, "STRETCH", 1e-4)
    return replace


def test_bench_goes_on_without_libraries_that_are_broken(broken, capsys):
    why = broken("matplotlib", "torch", "tqdm")
    assert main([*BENCH]) == 0
    said = capsys.readouterr()
    assert said.err == "size 1 of 1\n"
    assert f"Left out: torch ({why})." in said.out
    assert said.out.endswith(f"No picture: cannot draw fusedstep-bench.png: matplotlib: {why}.\n")


def test_what_needs_a_broken_library_says_so(broken, capsys):
    why = broken("matplotlib", "sklearn", "tqdm")
    assert main(["bench", "-o", "b.png"]) == 3
    assert capsys.readouterr() == ("", f"fusedstep: cannot draw b.png: matplotlib: {why}\n")
    assert main(["demo"]) == 3
    needs = "; ".join(f"{name}, but {why}" for name in ("matplotlib", "scikit-learn", "tqdm"))
    assert capsys.readouterr() == ("", f"fusedstep: demo needs {needs}\n")
    assert main(["info"]) == 0


def test_a_file_of_the_name_of_a_library(tmp_path):
    (tmp_path / "matplotlib.py").touch()
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = fusedstep(*BENCH, "-q", cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (
        b"\nNo picture: cannot draw fusedstep-bench.png: matplotlib: its import fails"
        in done.stdout
    )


def test_no_backend_of_matplotlib_is_asked_for(tmp_path):
    pytest.importorskip("matplotlib")
    done = fusedstep(*BENCH, "-q", cwd=tmp_path, MPLBACKEND="nonsense")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.endswith(b"\nPicture: fusedstep-bench.png\n")


# Interrupts --------------------------------------------------------------------------------------


def test_ctrl_c_in_the_middle_of_a_measurement(tmp_path):
    command = [
        sys.executable,
        "-c",
        QUICK,
        "bench",
        "--sizes",
        *["100"] * 2,
        *map(str, range(1, 999)),
    ]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=tmp_path,
    ) as process:
        try:
            assert process.stderr.readline() == "size 1 of 998\n"
            process.send_signal(signal.SIGINT)
            said, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    lines = errors.splitlines()
    assert (process.returncode, said, lines[-1]) == (130, "", "fusedstep: interrupted")
    assert all(line.startswith("size ") for line in lines[:-1])
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_while_it_starts(tmp_path):
    (tmp_path / "numpy.py").write_text("raise KeyboardInterrupt\n")
    code = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {str(tmp_path)!r})
        sys.argv[0] = "fusedstep"
        from fusedstep._cli.main import main
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        timeout=60,
        env=environment(),
    )
    assert done.returncode == -signal.SIGINT
    assert done.stderr == b"fusedstep: interrupted\n"
