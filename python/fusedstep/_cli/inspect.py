"""``fusedstep inspect``: what a checkpoint holds, and whether it is intact."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fusedstep._cli.errors import CommandError
from fusedstep._errors import CheckpointError
from fusedstep._messages import listed, printable, shown
from fusedstep.checkpoint._content import decode
from fusedstep.checkpoint._file import read

__all__ = ["run"]


class NotIntactError(CommandError):
    """The file is no intact checkpoint."""

    exit_code = 1


def run(path: Path, as_json: bool) -> None:
    """Print it; NotIntactError for a file that is not what was saved."""
    try:
        contents = read(path)
        decode(contents.document, contents.arrays)
    except CheckpointError as error:
        if as_json:
            print(json.dumps({"path": str(path), "intact": False, "error": str(error)}, indent=2))
        raise NotIntactError(printable(str(error), 2000)) from None
    arrays = {
        name: {"dtype": dtype, "shape": array.shape, "bytes": array.nbytes}
        for name, (array, dtype) in contents.arrays.items()
    }
    found = {"path": str(path), "intact": True, "bytes": path.stat().st_size}
    found |= json.loads(contents.document) | {"arrays": arrays}
    print(json.dumps(found, indent=2) if as_json else "\n".join(_lines(found)))


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    optimizer, arrays = found["optimizer"], found["arrays"]
    parameters = "with their values" if optimizer["has_params"] else "without their values"
    yield f"{printable(found['path'], 500)}: intact, {found['bytes']:,} bytes"
    yield f"  saved by    fusedstep {printable(found['version'])}, format {found['format']}"
    yield f"  optimizer   {optimizer['rule']}, step {optimizer['step_count']:,}"
    yield f"  parameters  {len(optimizer['steps']):,}, {parameters}"
    for i, group in enumerate(optimizer["groups"]):
        options = {name: value for name, value in group.items() if name != "params"}
        yield f"  group {i:<5} {len(group['params']):,} parameters, {_assigned(options)}"
    yield f"  as a whole  {_assigned(optimizer['policy'])}"
    for what in ("frozen", "schedules"):
        if optimizer[what]:
            yield f"  {what:<11} {listed(optimizer[what])}"
    for what in ("data", "extra"):
        if found[what]:
            yield f"  {what:<11} {printable(_assigned(found[what]), 500)}"
    width = max((len(printable(name)) for name in arrays), default=0)
    yield ""
    for name, array in arrays.items():
        shape = " x ".join(map(str, array["shape"])) or "one number"
        yield f"  {printable(name):<{width}}  {array['dtype']:<4}  {shape}"


def _assigned(values: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{printable(name)}={shown(value)}" if name else shown(value)
        for name, value in values.items()
    )
