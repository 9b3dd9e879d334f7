"""``fusedstep bench``, run as its users run it; no time that it measures is judged."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._bench import contestants
from fusedstep._bench.contestants import Contestant
from fusedstep._cli import measurement
from fusedstep._cli.main import main
from terminal import stderr_on_a_terminal

ROW = re.compile(r"^ *([\d,]+) +([\d.]+) +(\d+)%((?: +[\d.]+x| +disturbed)*)$", re.MULTILINE)
COMMAND = [sys.executable, "-m", "fusedstep", "bench"]
# An editable installation that rebuilds would report that on standard output.
ENVIRONMENT = os.environ | {"SKBUILD_EDITABLE_VERBOSE": "0"}


@pytest.fixture(autouse=True)
def short(tmp_path, monkeypatch):
    """Short stretches, in a directory of its own, on a machine that counts as idle."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(measurement, "_preemptions", lambda: 0)
    monkeypatch.setattr(measurement, "STRETCH", 1e-4)


@pytest.fixture
def without(monkeypatch):
    def hide(*modules):
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


def rows(stdout):
    return {row[0]: row[3].split() for row in ROW.findall(stdout)}


# What it reports ---------------------------------------------------------------------------------


def test_as_a_user_runs_it(tmp_path):
    image = pytest.importorskip("matplotlib.image")
    done = subprocess.run(
        [*COMMAND, "--sizes", "300", "2k", "--output", "small.png"],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env=ENVIRONMENT,
    )
    assert (done.returncode, done.stderr) == (0, "size 1 of 2\nsize 2 of 2\n")
    assert done.stdout.startswith(f"One step of adam (float32): fusedstep {fs.__version__} (")
    assert list(rows(done.stdout)) == ["300", "2,000"]
    assert done.stdout.endswith("\nPicture: small.png\n")
    assert [path.name for path in tmp_path.iterdir()] == ["small.png"]
    height, width, _ = image.imread(tmp_path / "small.png").shape
    assert 600 <= height < width <= 2000


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", fs.available())
def test_every_rule(rule, dtype, without, capsys):
    without("matplotlib", "torch")
    assert main(["bench", "-q", "--rule", rule, "--dtype", dtype, "--sizes", "100"]) == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert f"One step of {rule} ({dtype})" in said.out
    assert len(rows(said.out)["100"]) == (2 if rule == "adam" else 0)
    assert ("Left out: NumPy (takes part for adam alone)." in said.out) == (rule != "adam")


def test_json(tmp_path, without, capsys):
    without("torch")
    assert main(["bench", "--json", "--sizes", "2k", "100", "100", "--threads", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rule"], said["dtype"], said["threads"]) == ("adam", "float32", 1)
    assert said["config"].keys() == fs.show_config("dict").keys()
    assert [result["parameters"] for result in said["results"]] == [100, 2000]
    others = {"NumPy textbook", "NumPy in place"}
    for result in said["results"]:
        assert result["roofline_fraction"] > 0
        assert result["ns_per_parameter"].keys() == others | {"fusedstep", "roofline"}
        assert result["times_fusedstep"].keys() == others
        assert (result["preemptions_per_second"], result["disturbed"]) == (0, False)
    assert said["left_out"] == {"torch": "not installed here: pip install torch"}
    assert said["picture"] is None
    assert list(tmp_path.iterdir()) == []


def test_json_and_a_picture_that_was_asked_for(without, capsys):
    without("torch")
    pytest.importorskip("matplotlib")
    assert main(["bench", "--json", "--sizes", "100", "-o", "b.png"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == "b.png"
    assert Path("b.png").stat().st_size > 0


def test_disturbed_rows_are_no_result(without, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    without("torch")
    # Asked before and after each size: the second is disturbed.
    monkeypatch.setattr(measurement, "_preemptions", iter([0, 0, 0, 10**9]).__next__)
    drawn = []
    monkeypatch.setattr("matplotlib.axes.Axes.axvspan", lambda *args, **_: drawn.append(args[1:]))
    assert main(["bench", "-q", "--sizes", "100", "2k"]) == 0
    said = capsys.readouterr().out
    assert rows(said)["2,000"] == ["disturbed"] * 2
    assert "disturbed" not in rows(said)["100"]
    assert "\nDisturbed: other programs took a CPU from this one, up to " in said
    assert drawn == [(2000 / 1.3, 2000 * 1.3)]


def test_threads_are_given_back(without):
    without("matplotlib", "torch")
    before = fs.get_num_threads()
    assert main(["bench", "-q", "--sizes", "100", "--threads", str(before + 1)]) == 0
    assert fs.get_num_threads() == before


def test_sizes_may_have_units(without, capsys):
    without("matplotlib", "torch")
    assert main(["bench", "-q", "--sizes", "1k", "17", "0020k"]) == 0
    assert list(rows(capsys.readouterr().out)) == ["17", "1,000", "20,000"]


def test_on_a_terminal_there_is_a_bar():
    pytest.importorskip("tqdm")
    code = (
        "import sys\nfrom fusedstep._cli import main, measurement\n"
        "sys.modules['torch'], measurement.STRETCH = None, 1e-4\n"
        "sys.exit(main.main(['bench', '--sizes', '100']))"
    )
    returncode, said = stderr_on_a_terminal([sys.executable, "-c", code], ENVIRONMENT)
    assert returncode == 0
    assert re.search(rb"\rmeasuring: +\d+%\|", said)
    assert b"size 1 of 1" not in said


# Who takes part ----------------------------------------------------------------------------------


def test_torch_takes_part():
    pytest.importorskip("torch")
    makers, left_out = measurement.contestants("adam")
    assert "torch fused" in makers
    assert left_out == {}
    makers, left_out = measurement.contestants("rmsprop")
    assert "torch foreach" in makers
    _, left_out = measurement.contestants("momentum")
    assert left_out == {
        "NumPy": "takes part for adam alone",
        "torch": "its torch.optim has no Momentum",
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", fs.available())
def test_all_compute_the_same(rule, dtype):
    makers, _ = measurement.contestants(rule)
    torch = sys.modules.get("torch")  # keeps some scalars of NAdam and ASGD in its default dtype
    before = torch and torch.get_default_dtype()
    try:
        if torch:
            torch.set_default_dtype(getattr(torch, dtype))
        assert measurement.differing(makers, dtype) == []
    finally:
        if torch:
            torch.set_default_dtype(before)


@pytest.fixture
def wrong(monkeypatch):
    """Add a contestant that does nothing, by its name."""

    def add(name):
        makers, left_out = measurement.contestants("adam")
        makers[name] = lambda p, _: Contestant(lambda: None, lambda: p)
        monkeypatch.setattr(measurement, "contestants", lambda _: (makers, left_out))

    return add


def test_a_peer_that_computes_something_else_is_left_out(wrong, without, capsys):
    without("matplotlib", "torch")
    wrong("lazy")
    assert main(["bench", "-q", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert "Left out: lazy (its adam computes something else)." in said
    assert len(rows(said)["100"]) == len(measurement.NUMPY)


def test_a_step_unlike_numpy_is_an_error(wrong, without):
    without("matplotlib", "torch")
    wrong("NumPy textbook")
    with pytest.raises(RuntimeError, match="fusedstep and NumPy textbook disagree"):
        main(["bench", "-q", "--sizes", "100"])


def test_the_roofline_has_the_streams_of_the_rule(monkeypatch):
    allocated, allocate = [], contestants._core.zeros_in_phase

    def spy(*args):
        allocated.append(allocate(*args))
        return allocated[-1]

    monkeypatch.setattr(contestants._core, "zeros_in_phase", spy)
    for n_states in range(5):
        for average in (False, True):
            p, g = np.ones((2, 10), np.float32)
            contestants.roofline(n_states, average)([p], [g]).step()
            [streams] = allocated.pop()
            assert len(streams) == n_states + average
            # Each stream is written: the parameter and the states get the gradient added.
            for stream in (p, *streams[:n_states]):
                np.testing.assert_array_equal(stream, np.full(10, 2, np.float32))
            for stream in streams[n_states:]:
                np.testing.assert_array_equal(stream, np.full(10, 1.5, np.float32))


# What may be missing or wrong --------------------------------------------------------------------


def test_missing_libraries_are_named(tmp_path, without, capsys):
    without("matplotlib", "torch", "tqdm")
    assert main(["bench", "--sizes", "100"]) == 0
    said = capsys.readouterr()
    assert said.err == "size 1 of 1\n"
    assert "Left out: torch (not installed here: pip install torch)." in said.out
    assert said.out.endswith("\nNo picture: it needs matplotlib.\n")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_was_asked_for_needs_matplotlib(without, monkeypatch, capsys):
    without("matplotlib")
    monkeypatch.setattr(measurement, "measure", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "--output", "b.png"]) == 3
    assert capsys.readouterr() == (
        "",
        "fusedstep: cannot draw b.png without matplotlib: pip install matplotlib\n",
    )


@pytest.mark.parametrize("name", ["missing/b.png", "directory.png", "file/b.png"])
def test_an_unwritable_output_is_found_before_the_work(name, tmp_path, monkeypatch, capsys):
    pytest.importorskip("matplotlib")
    (tmp_path / "directory.png").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr(measurement, "measure", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "--output", name]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fusedstep: cannot write {name}: ")
    assert said.err.count("\n") == 1


def test_too_little_memory(without, monkeypatch, capsys):
    def measure(*_):
        raise MemoryError

    without("matplotlib", "torch")
    monkeypatch.setattr(measurement, "measure", measure)
    assert main(["bench", "--sizes", "100G"]) == 3
    assert capsys.readouterr().err == (
        "fusedstep: not enough memory for 100,000,000,000 parameters\n"
    )


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--rule", "adamx"], "invalid choice: 'adamx'"),
        (["--dtype", "float16"], "invalid choice: 'float16'"),
        (["--sizes"], "expected at least one argument"),
        (["--sizes", "0"], "expected a whole number >= 1"),
        (["--sizes", "0k"], "got '0k'"),
        (["--sizes", "10", "-5"], "-5"),
        (["--sizes", "1e6"], "got '1e6'"),
        (["--sizes", "k"], "got 'k'"),
        (["--sizes", ""], "got ''"),
        (["--threads", "0"], "expected a whole number from 1 to 4096, got '0'"),
        (["--threads", "5000"], "expected a whole number from 1 to 4096, got '5000'"),
        (["--output", "b.pdf"], "expected a name that ends in .png, got 'b.pdf'"),
    ],
)
def test_wrong_usage(args, complaint, capsys):
    assert main(["bench", *args]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: fusedstep bench")
    assert complaint in said.err


def test_importing_it_imports_no_peer():
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, fusedstep._cli.bench\nprint({'matplotlib', 'torch', 'tqdm'} & set(sys.modules))",
        ],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
        env=ENVIRONMENT,
    )
    assert (done.returncode, done.stdout) == (0, "set()\n")
