"""The command line, run as its users run it."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs
from fusedstep._cli.main import COMMANDS, main
from terminal import stderr_on_a_terminal

RULES = ("SGD", "Momentum", "Adagrad", "RMSprop", "Adam")
ROW = re.compile(r"^(\w+) +([\d.e-]+) +([\d.e+-]+) +([\d.]+)% +([\d,]+) +([\d.]+)$", re.MULTILINE)


def environment(**changes):
    # An editable installation that rebuilds would report that on standard output.
    return os.environ | {"SKBUILD_EDITABLE_VERBOSE": "0"} | changes


def python(*args, **options):
    options = {"capture_output": True, "text": True, "timeout": 120, "env": environment()} | options
    return subprocess.run([sys.executable, *args], check=False, **options)


def fusedstep(*args, **options):
    return python("-m", "fusedstep", *args, **options)


@pytest.fixture(scope="module")
def demo_libraries():
    for module in ("matplotlib", "sklearn", "tqdm"):
        pytest.importorskip(module)


@pytest.fixture(scope="module")
def demo(demo_libraries, tmp_path_factory):  # noqa: ARG001
    """One run with the defaults, in a directory of its own."""
    directory = tmp_path_factory.mktemp("demo")
    return directory, fusedstep("demo", cwd=directory)


def results(stdout):
    """Rule, rate, loss and accuracy of each row: what does not depend on the clock."""
    return [row[:4] for row in ROW.findall(stdout)]


# info, help, usage -------------------------------------------------------------------------------


def test_version():
    done = fusedstep("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"fusedstep {fs.__version__}\n", "")


def test_info(capsys):
    assert main(["info"]) == 0
    said = capsys.readouterr().out
    fs.show_config()
    assert said == capsys.readouterr().out


def test_a_wrong_environment_is_one_line():
    wrong = environment(FUSEDSTEP_NUM_THREADS="abc")
    line = "FUSEDSTEP_NUM_THREADS: expected an integer from 1 to 4096, got 'abc'"
    script = shutil.which("fusedstep", path=str(Path(sys.executable).parent))
    for command in [[sys.executable, "-m", "fusedstep"], *([[script]] if script else [])]:
        done = subprocess.run(
            [*command, "info"], check=False, env=wrong, capture_output=True, text=True, timeout=120
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"fusedstep: {line}\n"
    # Anybody else's program gets the exception.
    done = python("-c", "import fusedstep", env=wrong)
    assert done.stderr.splitlines()[-1] == f"ImportError: {line}"


def test_info_as_json():
    done = fusedstep("info", "--json", env=environment(FUSEDSTEP_ISA="baseline"))
    assert (done.returncode, done.stderr) == (0, "")
    config = json.loads(done.stdout)
    assert config.keys() == fs.show_config("dict").keys()
    assert config["isa"] == "baseline"
    assert config["environment"]["FUSEDSTEP_ISA"] == "baseline"


def test_help_names_commands_exit_codes_and_environment(capsys):
    assert main(["--help"]) == 0
    said = capsys.readouterr().out
    for command in COMMANDS:
        assert re.search(rf"^ +{command.name} +{command.summary}$", said, re.MULTILINE)
    for word in ("examples:", "FUSEDSTEP_ISA", "FUSEDSTEP_NUM_THREADS", "exit codes:", "130"):
        assert word in said


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_of_each_command(command, capsys):
    assert main([command.name, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: fusedstep {command.name} ")
    assert command.description in said
    assert max(map(len, said.splitlines())) <= 100


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        ([], "COMMAND"),
        (["train"], "'train'"),
        (["info", "--xml"], "--xml"),
        (["demo", "--epochs", "0"], "expected a whole number >= 1, got '0'"),
        (["demo", "--epochs", "two"], "expected a whole number >= 1, got 'two'"),
        (["demo", "--seed", "-1"], "expected a whole number >= 0, got '-1'"),
        (["demo", "--output", "demo.pdf"], "expected a name that ends in .png, got 'demo.pdf'"),
    ],
)
def test_wrong_usage(args, complaint, capsys):
    assert main(args) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("usage: fusedstep")
    assert complaint in said.err


def test_importing_the_command_line_imports_no_extra():
    done = python(
        "-c",
        "import sys, fusedstep._cli.main, fusedstep._cli.demo\n"
        "print({'matplotlib', 'sklearn', 'tqdm'} & sys.modules.keys())",
    )
    assert (done.returncode, done.stdout) == (0, "set()\n")


# What goes wrong with the output -----------------------------------------------------------------


def test_a_broken_pipe_is_no_traceback():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = fusedstep("info", capture_output=False, stdout=writer, stderr=subprocess.PIPE)
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_is_no_traceback():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = fusedstep("info", capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 3
    assert re.fullmatch(r"fusedstep: .*No space left on device\n", done.stderr)


@pytest.mark.parametrize("name", ["missing/demo.png", "directory.png", "file/demo.png"])
def test_an_unwritable_output_is_found_before_the_training(name, tmp_path, monkeypatch, capsys):
    (tmp_path / "directory.png").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.setattr("fusedstep._cli.demo.train", lambda *_: pytest.fail("it was trained"))
    assert main(["demo", "--output", str(tmp_path / name)]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"fusedstep: cannot write {tmp_path / name}: ")
    assert said.err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_directory_is_found_before_the_training(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["demo", "--output", str(tmp_path / "demo.png")]) == 3
    assert "Permission denied" in capsys.readouterr().err


def test_the_check_of_the_output_leaves_files_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    old, new = tmp_path / "old.png", tmp_path / "new.png"
    old.write_bytes(b"of yesterday")
    assert main(["demo", "--output", str(old)]) == main(["demo", "--output", str(new)]) == 3
    assert old.read_bytes() == b"of yesterday"
    assert not new.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [("matplotlib", "matplotlib"), ("sklearn", "scikit-learn"), ("tqdm", "tqdm")],
)
@pytest.mark.usefixtures("demo_libraries")
def test_a_missing_library_is_named(module, name, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["demo", "--output", str(tmp_path / "demo.png")]) == 3
    assert capsys.readouterr().err == (
        f"fusedstep: demo needs {name}, not installed here: pip install {name}\n"
    )


# The demo ----------------------------------------------------------------------------------------


def test_every_rule_learns(demo):
    _, done = demo
    assert done.returncode == 0, done.stderr
    rows = ROW.findall(done.stdout)
    assert tuple(row[0] for row in rows) == RULES
    for rule, lr, loss, accuracy, updates, nanoseconds in rows:
        assert float(lr) > 0
        assert float(loss) < 0.1, rule
        assert float(accuracy) > 90, rule
        assert int(updates.replace(",", "")) > 0
        assert float(nanoseconds) > 0


def test_the_picture_is_a_png_at_its_default_place(demo):
    import matplotlib.image

    directory, done = demo
    assert [path.name for path in directory.iterdir()] == ["fusedstep-demo.png"]
    assert done.stdout.endswith("\nPicture: fusedstep-demo.png\n")
    height, width, _ = matplotlib.image.imread(directory / "fusedstep-demo.png").shape
    assert 600 <= height < width <= 2000


def test_off_a_terminal_progress_is_plain_lines(demo):
    _, done = demo
    assert "\r" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "epoch 30 of 30"


def test_the_instruction_set_changes_no_result(demo, tmp_path):
    _, done = demo
    output = str(tmp_path / "demo.png")
    other = fusedstep("demo", "-q", "-o", output, env=environment(FUSEDSTEP_ISA="baseline"))
    assert (other.returncode, other.stderr) == (0, "")
    assert results(other.stdout) == results(done.stdout)


@pytest.mark.usefixtures("demo_libraries")
def test_options(tmp_path, capsys):
    runs = []
    for seed in ("1", "1", "2"):
        output = tmp_path / f"{len(runs)}.png"
        assert main(["demo", "--epochs=2", "--seed", seed, "--output", str(output), "-q"]) == 0
        said = capsys.readouterr()
        assert said.err == ""
        assert output.stat().st_size > 10_000
        runs.append(results(said.out))
    first, again, other = runs
    assert len(first) == len(RULES)
    assert first == again
    assert first != other


@pytest.mark.usefixtures("demo_libraries")
def test_on_a_terminal_there_is_a_bar(tmp_path):
    command = [sys.executable, "-m", "fusedstep", "demo", "--epochs=2", "-o", tmp_path / "demo.png"]
    returncode, said = stderr_on_a_terminal(command, environment())
    assert returncode == 0
    assert re.search(rb"\rtraining: +\d+%\|", said)
    assert b"epoch 2 of 2" not in said


@pytest.mark.usefixtures("demo_libraries")
def test_ctrl_c(tmp_path):
    # The handler is set because a test run in the background inherits SIGINT ignored.
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fusedstep._cli.main import main; sys.exit(main(sys.argv[1:]))"
    )
    output = tmp_path / "demo.png"
    command = [sys.executable, "-c", code, "demo", "--epochs=1000000", "-o", output]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout.readline().startswith("Handwritten digits")
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, "fusedstep: interrupted\n")
    assert not output.exists()
