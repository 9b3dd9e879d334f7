"""``fusedstep bench``: time a step on this machine against NumPy, torch and the roofline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType

import fusedstep as fs
from fusedstep._bench.libraries import Unusable, silenced
from fusedstep._bench.modes import Mode
from fusedstep._cli.errors import CommandError, check_output, write_output
from fusedstep._cli.figures import drawing
from fusedstep._cli.measurement import benchmark
from fusedstep._cli.report import as_json, as_table

__all__ = ["run"]

OUTPUT = Path("fusedstep-bench.png")


def prepare_picture(output: Path) -> ModuleType:
    """What draws the picture, if it can be drawn and written; otherwise a CommandError."""
    try:
        figure = drawing("fusedstep._cli.bench_figure")
    except Unusable as error:
        raise CommandError(f"cannot draw {output}: matplotlib: {error}") from None
    check_output(output)
    return figure


def run(
    rule: str,
    mode: Mode,
    sizes: Sequence[int],
    threads: int | None,
    output: Path | None,
    json_wanted: bool,
    quiet: bool,
) -> None:
    """Measure, draw the picture, and print the table or JSON.

    A picture that was not asked for is left out where it cannot be had.

    Raises
    ------
    CommandError
        `output` cannot be drawn or written (found out before the work if possible), the mode is
        none, or there is not enough memory.
    """
    picture, figure, why_none = output or OUTPUT, None, ""
    if output or not json_wanted:
        try:
            figure = prepare_picture(picture)
        except CommandError as error:
            if output:
                raise
            why_none = str(error)
    with silenced(), fs.num_threads(threads) if threads else nullcontext():
        result = benchmark(rule, mode, sorted(set(sizes)), quiet)
    if figure:
        write_output(picture, figure.render(result))
    if json_wanted:
        print(as_json(result, picture if figure else None))
    else:
        print(as_table(result))
        print(f"Picture: {picture}" if figure else f"No picture: {why_none}.")
