"""The command line, run as its users run it."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fusedstep as fs
from fusedstep._cli.main import COMMANDS, main


def environment(**changes):
    # An editable installation that rebuilds would report that on standard output.
    return os.environ | {"SKBUILD_EDITABLE_VERBOSE": "0"} | changes


def python(*args, **options):
    options = {"capture_output": True, "text": True, "timeout": 120, "env": environment()} | options
    return subprocess.run([sys.executable, *args], check=False, **options)


def fusedstep(*args, **options):
    return python("-m", "fusedstep", *args, **options)


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
        (["demo", "--seed", "-1"], "expected a whole number >= 0, got '-1'"),
        (["demo", "--seed", "two"], "expected a whole number >= 0, got 'two'"),
        (["demo", "--format", "pdf"], "'pdf'"),
        (["demo", "ravin"], "no demo is named 'ravin' (did you mean ravine?)"),
        (["bench", "--threads", "0"], "expected a whole number from 1 to 4096, got '0'"),
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
        "import sys, fusedstep._cli.main, fusedstep._cli.demo, fusedstep.gallery\n"
        "print({'matplotlib', 'PIL', 'sklearn', 'tqdm'} & sys.modules.keys())",
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
