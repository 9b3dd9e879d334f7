"""Saving a training to a file, and going on from it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fusedstep._checks import as_flag
from fusedstep._errors import CheckpointError
from fusedstep._messages import shown
from fusedstep.checkpoint._background import WRITER
from fusedstep.checkpoint._content import (
    Content,
    HasStateDict,
    OptimizerContent,
    Savable,
    decode,
    encode,
    has_state_dict,
)
from fusedstep.checkpoint._file import read, write
from fusedstep.checkpoint._layout import Held, as_numbers

__all__ = ["Checkpoint", "LoadResult", "as_path", "load", "save", "wait"]

Data = HasStateDict | Mapping[str, HasStateDict] | None
PathLike = str | os.PathLike[str]


class LoadResult(NamedTuple):
    """What ``strict=False`` has left as it was, as torch's ``load_state_dict`` names it."""

    missing_keys: list[str]
    """What the optimizer has and the checkpoint does not: it is as it was before."""
    unexpected_keys: list[str]
    """What the checkpoint has and the optimizer does not."""


def save(
    path: PathLike,
    *,
    opt: Savable,
    data: Data = None,
    extra: Mapping[str, Any] | None = None,
    include_params: bool = True,
    background: bool = False,
) -> None:
    """Save a training to a safetensors file: all that decides what its next steps are.

    The file is written beside `path`, brought to the disk, and then takes its place: after an error,
    ``kill -9`` or a power cut there is the old file or the new one, whole.

    Parameters
    ----------
    path
        The file, ``run.safetensors``, say, in a folder that is there.
    opt
        The optimizer: its state, averages, counters, options by group and as a whole (seeds among
        them), frozen parameters, and where schedules are that have a ``state_dict``.
    data
        What else goes on where it was: an object with ``state_dict`` and ``load_state_dict``, such
        as :class:`~fusedstep.data.MiniBatches` in the middle of an epoch, or a mapping from names
        to such objects.
    extra : mapping, optional
        Your own numbers, strings and NumPy arrays, nested in mappings and lists.
    include_params : bool, default True
        Save the parameters, too. Otherwise they have to be saved with it, before the next step.
    background : bool, default False
        Only copy the arrays, and write them on a thread while the program goes on. What goes wrong
        there is raised by the next call that saves or loads, or by :func:`wait`, and is printed at
        the end of the program, which waits for the file. Files are written in the order of the
        calls. The memory of the copies is kept for the next call, and released by :func:`wait`.

    Raises
    ------
    TypeError, ValueError
        Something in `data` or `extra` cannot be saved; the message names it.
    OSError
        The file cannot be written. The one that was there is as it was; only where bringing its
        folder to the disk has failed is it the new one, which a power cut might still undo.
    RuntimeError
        The parameters hold other values: within ``ema.swapped_in()``, say.
    CheckpointError
        An earlier save in the background has failed.
    """
    save_then(path, None, opt, data, extra, include_params, background)


def save_then(
    path: PathLike,
    then: Callable[[], object] | None,
    opt: Savable,
    data: Data,
    extra: Mapping[str, Any] | None,
    include_params: bool,
    background: bool,
) -> None:
    """As :func:`save`, and call `then` once the file is there."""
    file = as_path(path)
    check_savable(opt)
    if not file.parent.is_dir():
        raise FileNotFoundError(f"path: expected a folder that exists, got {str(file.parent)!r}")
    include_params = as_flag("include_params", include_params)
    if not isinstance(extra, (Mapping, type(None))):
        raise TypeError(f"extra: expected a mapping, got {shown(extra)}")
    states = None if data is None else {name: o.state_dict() for name, o in _parts(data).items()}
    if as_flag("background", background):
        WRITER.raise_errors()
    else:
        WRITER.wait()

    def put(optimizer: OptimizerContent) -> None:
        document, arrays = encode(Content(optimizer, states, extra or {}))
        if background:
            WRITER.submit(file, document, arrays, then)
        else:
            write(file, document, arrays)

    opt._hold(put, include_params=include_params)
    if then is not None and not background:
        then()


def check_savable(opt: object) -> None:
    """Raise TypeError for what is no optimizer of ours."""
    if not hasattr(opt, "_resume"):
        raise TypeError(
            f"opt: expected an optimizer of fusedstep, such as fs.Adam, got {shown(opt)}: its "
            "state_dict is saved as its own library does"
        )


def wait() -> None:
    """Wait until all that is saved in the background is on the disk, or raise what prevents it."""
    WRITER.wait()


def as_path(path: PathLike) -> Path:
    """A path, or TypeError."""
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path: expected a path, got {shown(path)}")
    return Path(path)


def _parts(data: Any) -> Mapping[str, HasStateDict]:
    """The objects by name; a single one is called ""."""
    parts = data if isinstance(data, Mapping) else {"": data}
    for name, part in parts.items():
        if not has_state_dict(part):
            where = f"data[{shown(name)}]" if isinstance(data, Mapping) else "data"
            raise TypeError(
                f"{where}: expected an object with state_dict and load_state_dict, got {shown(part)}"
            )
    return parts


def load(path: PathLike) -> Checkpoint:
    """Read a checkpoint, and verify every byte of it.

    Arrays are views of the mapped file, read-only: what is not looked at takes no memory. They
    remain valid if the file is replaced by a newer one.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    CheckpointDamagedError
        It is no checkpoint of this library, or not as it was written; the message says where. It is
        a CheckpointError.
    CheckpointError
        It is one of a newer version.
    OSError
        The file cannot be read.
    """
    WRITER.wait()
    file = as_path(path)
    contents = read(file)
    try:
        return Checkpoint(file, decode(contents.document, contents.arrays), contents.arrays)
    except CheckpointError as error:
        raise type(error)(f"{file}: {error}") from None


class Checkpoint:
    """What a checkpoint holds: see :func:`load`.

    Attributes
    ----------
    path : Path
        The file.
    extra : dict
        What was given to :func:`save` as `extra`; tuples are lists now. Arrays are read-only.
    """

    def __init__(self, path: Path, content: Content, arrays: Mapping[str, Held]) -> None:
        self.path = path
        self.extra: Mapping[str, Any] = content.extra
        self._content = content
        self._arrays = arrays

    @property
    def rule(self) -> str:
        """The rule of the optimizer, as :func:`fusedstep.create` names it."""
        return self._content.optimizer.snapshot.rule

    @property
    def step_count(self) -> int:
        """How many steps the optimizer had made."""
        return self._content.optimizer.snapshot.step_count

    @property
    def params(self) -> Mapping[str, NDArray[Any]]:
        """The parameters by name, read-only; empty where they are not in the file.

        bfloat16 is that of ``ml_dtypes`` if it has been imported, and else its bits as uint16.
        """
        params = self._content.optimizer.snapshot.params or {}
        return MappingProxyType({name: as_numbers(*own) for name, own in params.items()})

    @property
    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All arrays by the names that they have in the file: ``state.w.exp_avg``, ``param.w``."""
        return MappingProxyType({name: held.numbers() for name, held in self._arrays.items()})

    def state_dict(self) -> dict[str, Any]:
        """The ``state_dict()`` of the optimizer that was saved."""
        return self._content.optimizer.snapshot.as_dict()

    def restore(
        self,
        opt: Savable,
        data: Data = None,
        *,
        strict: bool = True,
        map_names: Mapping[str, str] | Callable[[str], str] | None = None,
        include_params: bool | None = None,
    ) -> LoadResult:
        """Let an optimizer, and data, go on from here: all or nothing.

        All is matched by the names of the parameters. The options of groups and of the whole
        optimizer (``skip_nonfinite``, ``ema_decay``, ``seed``, ...) become those of the checkpoint,
        and so does which parameters are frozen. A schedule is kept.

        Parameters
        ----------
        opt
            An optimizer of the same rule, over parameters of the same names, shapes and dtypes.
        data
            The objects that were saved as `data`.
        strict : bool, default True
            Whether all must match. False lets a parameter that only `opt` has start fresh (it and
            its group's options stay as they are), and leaves out one that only the checkpoint has.
            What has the same name must match all the same.
        map_names : mapping or callable, optional
            The new names of parameters that had others when they were saved:
            ``{"layer.w": "encoder.0.w"}``, or a function from the old name to the new one.
        include_params : bool, optional
            Whether to load the parameters: by default, if they are in the checkpoint.

        Returns
        -------
        LoadResult
            ``missing_keys`` and ``unexpected_keys``; both are empty with `strict`.

        Raises
        ------
        CheckpointError
            It does not fit: the message lists every missing, unexpected, misshaped and mistyped
            entry (of many the first; ``error.differences`` has all), and nothing has changed.
        """
        check_savable(opt)
        strict = as_flag("strict", strict)
        content = self._content.optimizer
        try:
            if include_params is not None:
                content = content.with_params(as_flag("include_params", include_params))
            found = opt._resume(content, self._states_for(data), strict=strict, map_names=map_names)
        except CheckpointError as error:
            raise type(error)(f"{self.path}: {error}", error.differences) from None
        return LoadResult(*found)

    def _states_for(self, data: Data) -> dict[str, tuple[HasStateDict, Any]]:
        """The objects of data by name, each with its state."""
        if data is None:
            return {}
        parts, states = _parts(data), self._content.data or {}
        if {*parts} != {*states}:
            raise CheckpointError(
                f"data: expected {shown([*states])} as they were saved, got {shown([*parts])}"
            )
        return {f"data {name}".strip(): (part, states[name]) for name, part in parts.items()}

    def __repr__(self) -> str:
        names = [*self._content.optimizer.snapshot.state]
        return f"Checkpoint({self.rule}, step {self.step_count}, {len(names)} parameters, {str(self.path)!r})"
