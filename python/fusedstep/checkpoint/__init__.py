"""Checkpoints: a whole training in one file, of which nothing is lost.

They are safetensors files: whoever reads that format can read the arrays, ``state.w.exp_avg`` and
``param.w``, say. A file is replaced as a whole, and every byte of it is verified when it is loaded.

>>> import numpy as np, fusedstep as fs, tempfile, pathlib
>>> path = pathlib.Path(tempfile.mkdtemp()) / "run.safetensors"
>>> w = np.ones(3, np.float32)
>>> opt = fs.Adam({"w": w})
>>> _ = opt.step({"w": w.copy()})
>>> fs.checkpoint.save(path, opt=opt, extra={"epoch": 2})
>>> saved = fs.load(path)
>>> saved.extra, saved.step_count, saved.params["w"].shape
({'epoch': 2}, 1, (3,))
>>> saved.restore(opt)
LoadResult(missing_keys=[], unexpected_keys=[])
"""

from fusedstep._errors import CheckpointDamagedError, CheckpointError
from fusedstep.checkpoint._checkpoint import Checkpoint, LoadResult, load, save, wait
from fusedstep.checkpoint._manager import CheckpointManager

__all__ = [
    "Checkpoint",
    "CheckpointDamagedError",
    "CheckpointError",
    "CheckpointManager",
    "LoadResult",
    "load",
    "save",
    "wait",
]

for _public in (
    Checkpoint,
    CheckpointDamagedError,
    CheckpointManager,
    LoadResult,
    load,
    save,
    wait,
):
    _public.__module__ = __name__
