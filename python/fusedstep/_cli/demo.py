"""``fusedstep demo``: compute a demo's numbers, draw its figure, and print what it shows."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fusedstep._bench.libraries import Unusable, library
from fusedstep._bench.progress import progress_bar
from fusedstep._cli.demos import DEMOS, AnimatedDemo, Demo
from fusedstep._cli.errors import CommandError, check_output, write_output
from fusedstep._cli.figures import drawing, rendered

if TYPE_CHECKING:
    from fusedstep.gallery import Animation

__all__ = ["run", "show_list"]


def load_libraries(demo: Demo, draws: bool) -> None:
    """Raise a CommandError that names every library that the demo cannot use."""
    missing, reasons = [], []
    loads = [(name, partial(library, module, name)) for module, name in demo.needs]
    if draws:
        loads.insert(0, ("matplotlib", partial(drawing, "matplotlib.figure")))
    for distribution, load in [*loads, ("tqdm", partial(library, "tqdm", "tqdm"))]:
        try:
            load()
        except Unusable as error:
            if error.installed:
                reasons.append(f"{distribution}, but {error}")
            else:
                missing.append(distribution)
    if missing:
        names = " and ".join(", ".join(missing).rsplit(", ", 1))
        reasons.append(f"{names}, not installed here: pip install {' '.join(missing)}")
    if reasons:
        raise CommandError(f"demo needs {'; '.join(reasons)}")


@contextmanager
def progress(title: str, total: int, unit: str, quiet: bool) -> Iterator[Callable[[], object]]:
    """Yield what to call after each unit: on a terminal it moves a bar on, else prints ten lines."""
    done = count(1)

    def tick() -> None:
        n = next(done)
        if 10 * n // total > 10 * (n - 1) // total:
            print(f"{unit} {n} of {total}", file=sys.stderr, flush=True)

    if quiet:
        yield lambda: None
    else:
        with progress_bar(title, total, unit) as advance:
            yield advance or tick


def show_list(json_wanted: bool) -> None:
    """Print the names of the demos and what they show."""
    if json_wanted:
        print(json.dumps({demo.name: demo.summary for demo in DEMOS}, indent=2))
    else:
        for demo in DEMOS:
            print(f"{demo.name:<12}{demo.summary}")


def run(
    name: str, seed: int, folder: Path | None, file_format: str, json_wanted: bool, quiet: bool
) -> None:
    """Compute the demo of this name, draw its figure into a folder, and print report or JSON.

    With JSON a figure is drawn only if a folder is named; otherwise the current one is meant.

    Raises
    ------
    CommandError
        A library is missing, or the figure cannot be written (found out before the work if
        possible).
    """
    [demo] = [demo for demo in DEMOS if demo.name == name]
    if folder is None and not json_wanted:
        folder = Path()
    suffixes = [] if folder is None else [file_format, *(["gif"] if demo.animated else [])]
    files = [Path(folder or "", f"{name}.{suffix}") for suffix in suffixes]
    for file in files:
        check_output(file)
    load_libraries(demo, draws=bool(files))
    module = cast("AnimatedDemo", importlib.import_module(demo.module))
    with progress(name, module.N_UNITS, module.UNIT, quiet) as advance:
        numbers = module.compute(seed, advance)
    for file in files:
        if file.suffix == ".gif":
            content = animated(module.animate(numbers), quiet)
        else:
            content = rendered(module.draw(numbers), file_format)
        write_output(file, content)
    if json_wanted:
        print(json.dumps(numbers, indent=2, allow_nan=False))
    else:
        print(module.report(numbers))
        print()
        for file in files:
            print(f"{'Animation' if file.suffix == '.gif' else 'Figure'}: {file}")


def animated(animation: Animation, quiet: bool) -> bytes:
    """The animation as a GIF."""
    buffer = io.BytesIO()
    with progress("drawing", animation.n_frames, "frame", quiet) as advance:
        animation.save(buffer, advance=advance)
    return buffer.getvalue()
