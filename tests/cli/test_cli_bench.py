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
from fusedstep._bench.formulas import FORMULAS
from fusedstep._bench.modes import FLOAT32, Mode
from fusedstep._cli import measurement, peers
from fusedstep._cli.main import main
from terminal import stderr_on_a_terminal

# A size, nanoseconds, a percentage if the times were steady, and a ratio for each peer.
RATIO = r"~?[\d.,]+x(?: \([\d.,]+-[\d.,]+\))?"
ROW = re.compile(rf"^ *([\d,]+) +~?[\d.]+(?: +\d+%)?((?: +{RATIO})*)$", re.MULTILINE)
COMMAND = [sys.executable, "-m", "fusedstep", "bench"]
# An editable installation that rebuilds would report that on standard output.
ENVIRONMENT = os.environ | {"SKBUILD_EDITABLE_VERBOSE": "0"}
pytestmark = pytest.mark.usefixtures("short")


def rows(stdout):
    """The ratios of each size."""
    return {size: re.findall(RATIO, ratios) for size, ratios in ROW.findall(stdout)}


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
    peers = ["NumPy textbook"] * (rule in FORMULAS) + ["NumPy in place"] * (rule == "adam")
    assert len(rows(said.out)["100"]) == len(peers)
    if peers:
        assert (
            f"\nChecked: after 3 steps the same parameters as {' and '.join(peers)}.\n" in said.out
        )
    else:
        assert f"\nNot checked: nobody else here computes {rule}.\n" in said.out
        assert f"Left out: NumPy (bench has no formula of {rule})." in said.out


def test_json(tmp_path, without, capsys):
    without("torch")
    assert main(["bench", "--json", "--sizes", "2k", "100", "100", "--threads", "1"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["rule"], said["dtype"], said["threads"]) == ("adam", "float32", 1)
    assert said["config"].keys() == fs.show_config("dict").keys()
    assert [result["parameters"] for result in said["results"]] == [100, 2000]
    others = {"NumPy textbook", "NumPy in place"}
    for result in said["results"]:
        assert result["roofline_fraction"] is None or result["roofline_fraction"] > 0
        assert result["preemptions_per_second"] >= 0
        assert result["ns_per_parameter"].keys() == others | {"fusedstep", "roofline"}
        assert result["times_fusedstep"].keys() == others
        for time in (*result["ns_per_parameter"].values(), *result["times_fusedstep"].values()):
            assert 0 < time["low"] <= time["median"] <= time["high"]
            assert time["mean"] > 0
    assert set(said["checked_against"]) == others
    assert said["left_out"] == {"torch": "not installed here: pip install torch"}
    assert said["picture"] is None
    assert list(tmp_path.iterdir()) == []


def test_json_and_a_picture_that_was_asked_for(without, capsys):
    without("torch")
    pytest.importorskip("matplotlib")
    assert main(["bench", "--json", "--sizes", "100", "-o", "b.png"]) == 0
    assert json.loads(capsys.readouterr().out)["picture"] == "b.png"
    assert Path("b.png").stat().st_size > 0


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
    asked = peers.candidates("adam")
    assert "torch fused" in asked.makers
    assert asked.left_out == {}
    assert "torch foreach" in peers.candidates("rmsprop").makers
    assert peers.candidates("momentum").left_out == {"torch": "its torch.optim has no Momentum"}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rule", fs.available())
def test_all_compute_the_same(rule, dtype):
    asked = peers.candidates(rule)
    torch = sys.modules.get("torch")  # keeps some scalars of NAdam and ASGD in its default dtype
    before = torch and torch.get_default_dtype()
    try:
        if torch:
            torch.set_default_dtype(getattr(torch, dtype))
        assert peers.peers(rule, Mode(dtype)).others == asked.others
    finally:
        if torch:
            torch.set_default_dtype(before)


@pytest.mark.parametrize("rule", FORMULAS)
def test_the_check_finds_a_wrong_step(rule, without, monkeypatch):
    """Ours goes a tenth too far."""
    without("torch")
    make = contestants.fusedstep(rule)

    def wrong(params, grads):
        [start] = [p.copy() for p in params]
        right = make(params, grads)
        return right._replace(result=lambda: [start + 1.1 * (params[0] - start)])

    monkeypatch.setattr(peers, "fusedstep", lambda _: wrong)
    with pytest.raises(RuntimeError, match="fusedstep and NumPy textbook disagree"):
        peers.peers(rule, FLOAT32)


@pytest.fixture
def peer(monkeypatch):
    """Replace a contestant, or add one, by its name."""

    def add(name, make):
        asked = peers.candidates("adam")
        changed = peers.Peers({**asked.makers, name: make}, asked.left_out)
        monkeypatch.setattr(peers, "candidates", lambda _: changed)

    return add


def lazy(params, _):
    return Contestant(lambda: None, lambda: params)


def broken(*_):
    raise AttributeError("it has no such thing\nand more")


def greedy(params, grads):
    if params[0].size == 2000:
        raise RuntimeError("cannot allocate")
    return contestants.numpy_textbook(params, grads)


def test_a_peer_that_computes_something_else_is_left_out(peer, without, capsys):
    without("matplotlib", "torch")
    peer("lazy", lazy)
    assert main(["bench", "-q", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert "Left out: lazy (its adam computes something else)." in said
    assert len(rows(said)["100"]) == 2


def test_a_peer_that_fails_is_left_out(peer, without, capsys):
    without("matplotlib", "torch")
    peer("broken", broken)
    assert main(["bench", "-q", "--sizes", "100"]) == 0
    said = capsys.readouterr().out
    assert "Left out: broken (AttributeError: it has no such thing)." in said


def test_a_peer_that_fails_at_a_size_is_blank_there(peer, without, capsys):
    pytest.importorskip("matplotlib")
    without("torch")
    peer("greedy", greedy)
    assert main(["bench", "--sizes", "100", "2k", "3k"]) == 0
    said = capsys.readouterr()
    assert said.err == "size 1 of 3\nsize 2 of 3\nsize 3 of 3\n"
    assert {size: len(ratios) for size, ratios in rows(said.out).items()} == {
        "100": 3,
        "2,000": 2,
        "3,000": 3,
    }
    assert "Left out: greedy (with 2,000 parameters: RuntimeError: cannot allocate)." in said.out


def test_a_step_unlike_numpy_is_an_error(peer, without):
    without("matplotlib", "torch")
    peer("NumPy textbook", lazy)
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
    assert said.out.endswith(
        "\nNo picture: cannot draw fusedstep-bench.png: matplotlib: not installed here: "
        "pip install matplotlib.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_was_asked_for_needs_matplotlib(without, monkeypatch, capsys):
    without("matplotlib")
    monkeypatch.setattr(measurement, "measure", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "--output", "b.png"]) == 3
    assert capsys.readouterr() == (
        "",
        "fusedstep: cannot draw b.png: matplotlib: not installed here: pip install matplotlib\n",
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


@pytest.mark.parametrize("size", ["100G", "1000000000000000000", "1" + "0" * 30 + "G"])
def test_a_size_beyond_this_machine_is_found_before_the_work(size, without, monkeypatch, capsys):
    without("matplotlib", "torch")
    monkeypatch.setattr(measurement, "available_memory", lambda otherwise: 10**9)  # noqa: ARG005
    monkeypatch.setattr(measurement, "measure", lambda *_: pytest.fail("it was measured"))
    assert main(["bench", "--sizes", "100", size]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert re.fullmatch(
        r"fusedstep: not enough memory for [\d,]+ parameters: all contestants together need "
        r"[\d,.]+ GB, and 1.0 GB are free\n",
        said.err,
    )


def test_memory_that_runs_out_all_the_same(without, monkeypatch, capsys):
    def measure(*_):
        raise MemoryError

    without("matplotlib", "torch")
    monkeypatch.setattr(measurement, "measure", measure)
    assert main(["bench", "--sizes", "100"]) == 3
    assert capsys.readouterr().err == "fusedstep: not enough memory for 100 parameters\n"


@pytest.mark.parametrize("rule", ["Adam", "ADAMW", "RMSprop"])
def test_rules_in_any_case(rule, without, capsys):
    without("matplotlib", "torch")
    assert main(["bench", "-q", "-r", rule, "--sizes", "100"]) == 0
    assert f"One step of {rule.lower()} " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["--rule", "AdamX"], "no rule is named 'AdamX' (did you mean adam"),
        (["--rule", "sdg"], "no rule is named 'sdg'"),
        (["--rule", "a" * 9999], "aaa...aaa"),
        (["--dtype", "int8"], "invalid choice: 'int8'"),
        (["--state", "float16"], "invalid choice: 'float16'"),
        (["--rounding", "up"], "invalid choice: 'up'"),
        (["--master-bits", "16"], "invalid choice: 16"),
        (["--sizes"], "expected at least one argument"),
        (["--sizes", "0"], "expected a whole number >= 1"),
        (["--sizes", "0k"], "got '0k'"),
        (["--sizes", "10", "-5"], "-5"),
        (["--sizes", "1e6"], "got '1e6'"),
        (["--sizes", "nan"], "got 'nan'"),
        (["--sizes", "1" * 5000], "got '111"),
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
    assert len(said.err) < 1000


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
