"""What ``fusedstep inspect`` prints of checkpoints, and of other files."""

import json
import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from fusedstep._cli.main import main


@pytest.fixture
def checkpoint(tmp_path):
    opt = fs.Adam({"w": np.ones((3, 4), np.float32), "b": np.ones(2, np.float32)}, ema_decay=0.9)
    opt.step({"w": np.ones((3, 4), np.float32)})
    opt.freeze("b")
    path = tmp_path / "run.safetensors"
    fs.checkpoint.save(path, opt=opt, extra={"epoch": 7, "losses": np.arange(3.0)})
    return path


def test_a_checkpoint(checkpoint, capsys):
    assert main(["inspect", str(checkpoint)]) == 0
    out = capsys.readouterr().out
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    assert f"{checkpoint}: intact, {checkpoint.stat().st_size:,} bytes" in out
    assert fs.__version__ in out
    assert "adam, step 1" in lines["optimizer"]
    assert "2, with their values" in lines["parameters"]
    assert "2 parameters, lr=0.001, betas=[0.9, 0.999]" in lines["group"]
    assert "ema_decay=0.9" in lines["as"]
    assert lines["frozen"].split() == ["frozen", "b"]
    assert "epoch=7" in lines["extra"]
    assert lines["param.w"].split() == ["param.w", "F32", "3", "x", "4"]
    assert lines["state.b.ema"].split() == ["state.b.ema", "F32", "2"]
    assert lines["extra.losses"].split() == ["extra.losses", "F64", "3"]


def test_as_json(checkpoint, capsys):
    assert main(["inspect", "--json", str(checkpoint)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["intact"] is True
    assert found["optimizer"]["rule"] == "adam"
    assert found["optimizer"]["frozen"] == ["b"]
    assert found["extra"]["epoch"] == 7
    assert found["arrays"]["param.w"] == {"dtype": "F32", "shape": [3, 4], "bytes": 48}


def test_a_damaged_one(checkpoint, capsys):
    raw = bytearray(checkpoint.read_bytes())
    raw[-1] ^= 1
    checkpoint.write_bytes(raw)
    assert main(["inspect", str(checkpoint)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "the checksum differs" in err
    assert main(["inspect", "--json", str(checkpoint)]) == 1
    found = json.loads(capsys.readouterr().out)
    assert found["intact"] is False
    assert "the checksum differs" in found["error"]


def test_what_is_no_checkpoint(tmp_path, capsys):
    other = tmp_path / "notes.txt"
    other.write_text("not a checkpoint")
    assert main(["inspect", str(other)]) == 1
    assert "this is no checkpoint" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path)]) == 1
    assert "expected a file" in capsys.readouterr().err


def test_a_missing_file(tmp_path):
    command = [sys.executable, "-m", "fusedstep", "inspect", str(tmp_path / "missing")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 3
    assert "No such file" in done.stderr
    assert "missing" in done.stderr
