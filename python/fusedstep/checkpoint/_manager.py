"""The newest checkpoints of a training, in a folder of their own."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fusedstep._checks import as_integer
from fusedstep._errors import CheckpointDamagedError, CheckpointError
from fusedstep._messages import listed, printable
from fusedstep.checkpoint._checkpoint import (
    Checkpoint,
    Data,
    PathLike,
    as_path,
    load,
    save_then,
    wait,
)
from fusedstep.checkpoint._content import Savable
from fusedstep.checkpoint._durable import remove_leftovers

__all__ = ["CheckpointManager"]

_NAME = re.compile(r"step-(\d+)\.safetensors")


class CheckpointManager:
    """Keeps the newest checkpoints of a training in a folder, and goes on from the newest intact one.

    Parameters
    ----------
    directory
        The folder; it is made where it is missing. One training writes to it at a time.
    keep : int, default 3
        How many checkpoints to keep, >= 1. Older ones are removed once a newer one is on the disk;
        those of later steps, which a run that began anew has not reached again, are left.

    Examples
    --------
    ::

        manager = fs.checkpoint.CheckpointManager("run", keep=3)
        manager.restore(opt, data=batches)  # None where there is nothing yet
        while opt.step_count < 10_000:
            ...
            manager.save(opt.step_count, opt, data=batches, background=True)
        fs.checkpoint.wait()
    """

    def __init__(self, directory: PathLike, keep: int = 3) -> None:
        self._folder = as_path(directory)
        self._keep = as_integer("keep", keep, 1)
        self._folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(self._folder, _NAME.pattern)

    def save(
        self,
        step: int,
        opt: Savable,
        data: Data = None,
        *,
        extra: Mapping[str, Any] | None = None,
        include_params: bool = True,
        background: bool = False,
    ) -> Path:
        """Save a training as that of `step`, and remove what is older than the newest `keep`.

        The errors are those of :func:`fusedstep.checkpoint.save`.

        Parameters
        ----------
        step
            The number in the name of the file.
        opt, data, extra, include_params, background
            As for :func:`fusedstep.checkpoint.save`.

        Returns
        -------
        Path
            The file, ``step-000000001000.safetensors``.
        """
        path = self._folder / f"step-{as_integer('step', step, 0):012d}.safetensors"
        then = partial(self._remove_older, step)
        save_then(path, then, opt, data, extra, include_params, background)
        return path

    def _remove_older(self, step: int) -> None:
        """Of those up to this step, keep the newest; later ones are of a run that was given up."""
        paths = [path for own, path in self._by_step() if own <= step]
        for path in paths[: -self._keep]:
            path.unlink(missing_ok=True)

    def checkpoints(self) -> list[Path]:
        """The files, the oldest first."""
        return [path for _, path in self._by_step()]

    def _by_step(self) -> list[tuple[int, Path]]:
        found = [(_NAME.fullmatch(path.name), path) for path in self._folder.iterdir()]
        return sorted((int(match[1]), path) for match, path in found if match)

    def latest(self) -> Path | None:
        """The newest file, once all that is saved in the background is written; None without one."""
        wait()
        paths = self.checkpoints()
        return paths[-1] if paths else None

    def restore(
        self, opt: Savable, data: Data = None, *, include_params: bool | None = None
    ) -> Checkpoint | None:
        """Let a training go on from the newest intact checkpoint.

        Of damaged ones that are newer, a RuntimeWarning says which they are, and why.

        Parameters
        ----------
        opt, data, include_params
            As for :meth:`fusedstep.checkpoint.Checkpoint.restore`.

        Returns
        -------
        Checkpoint or None
            The one that was loaded; None where the folder has none.

        Raises
        ------
        CheckpointError
            It does not fit `opt` or `data`, or no checkpoint is intact. Nothing has changed.
        """
        wait()
        damaged: list[str] = []
        for path in reversed(self.checkpoints()):
            try:
                found = load(path)
            except CheckpointDamagedError as error:
                damaged.append(str(error))
                continue
            found.restore(opt, data, include_params=include_params)
            if damaged:
                message = f"going on from {path.name}, since newer checkpoints are damaged: "
                warnings.warn(message + _in_full(damaged), RuntimeWarning, stacklevel=2)
            return found
        if damaged:
            raise CheckpointError(
                f"{self._folder}: expected an intact checkpoint, got damaged ones: {_in_full(damaged)}",
                damaged,
            )
        return None

    def __repr__(self) -> str:
        return f"CheckpointManager({str(self._folder)!r}, keep={self._keep})"


def _in_full(reasons: list[str]) -> str:
    """With paths, which are long."""
    return listed(reasons, partial(printable, width=400))
