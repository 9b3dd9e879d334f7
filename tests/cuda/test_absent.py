"""A build without the module for CUDA, which is the usual one."""

import subprocess
import sys

import numpy as np
import pytest

import fusedstep as fs
from emulated_cuda import FakeDLPack, device_array

pytestmark = pytest.mark.skipif(
    fs.show_config("dict")["cuda"] != "not built", reason="this build has the CUDA module"
)
WHY = "since this build has no CUDA module (build with -Ccmake.define.FUSEDSTEP_CUDA=ON)"


@pytest.mark.parametrize(
    ("array", "what"),
    [
        (FakeDLPack(np.ones(3)), "emulated_cuda.FakeDLPack on cuda:0"),
        (device_array(np.ones(3)), "emulated_cuda.Fake on a CUDA device"),
    ],
)
@pytest.mark.parametrize(
    ("make", "subject"),
    [
        (lambda a: fs.Adam({"w": a}), "parameter 'w'"),
        (lambda a: fs.EMA({"w": a}), "value 'w'"),
        (lambda a: fs.functional.sgd(a, a, step=1), "parameter 'param'"),
    ],
)
def test_a_cuda_array_is_refused(array, what, make, subject):
    with pytest.raises(TypeError) as info:
        make(array)
    expected = f"{subject}: expected an array on the CPU, {WHY}, got a CUDA array ({what})"
    assert str(info.value) == expected


def test_info_says_so(capsys):
    fs.show_config()
    assert "cuda:           not built\n" in capsys.readouterr().out


def test_nothing_of_cuda_is_imported():
    program = (
        "import sys, numpy as np, fusedstep as fs; fs.Adam(np.zeros(3)).step(np.ones(3));"
        "print([name for name in sys.modules if 'cuda' in name])"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    assert result.stdout == "[]\n"
