"""What narrow parameters and state cost in what is learnt: fp32 against every mode, from several seeds.

    python -m bench.quality.compare [--only CASE ...] [--modes MODE ...] [--seeds N] [--jobs N] [--output DIR]

Writes quality.json, quality.md and quality.png into the output directory, and prints the tables.
bench/README.md explains the method.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from ..harness.processes import (
    OUTPUT,
    Result,
    command_line,
    environment,
    exit_on_termination,
    is_selected,
    write_json,
)
from .modes import FP32, MODES

LIBRARIES = ("numpy", "torch", "scikit-learn", "ml_dtypes")


class Job(NamedTuple):
    """One training, in a process of one thread."""

    case: str
    mode: str
    seed: int
    steps: int | None  # None: as many as the training has

    def run(self) -> Result:
        import torch

        from .learn import learn
        from .trainings import all_cases

        torch.set_num_threads(1)
        (case,) = (case for case in all_cases() if case.name == self.case)
        (mode,) = (mode for mode in MODES if mode.name == self.mode)
        return learn(case.training, case.rule, mode, self.seed, self.steps or case.training.steps)


def arguments_of() -> argparse.Namespace:
    description, _ = (__doc__ or "").split("\n", maxsplit=1)
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help="cases by name, prefix or pattern; see --list"
    )
    parser.add_argument("--modes", nargs="+", choices=[mode.name for mode in MODES])
    parser.add_argument("--list", action="store_true", help="list the cases and exit")
    parser.add_argument("--seeds", type=int, default=5, help="default: 5")
    parser.add_argument("--steps", type=int, help="default: as many as each training has")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--jobs", type=int, default=cores, help="processes; default: all cores")
    parser.add_argument(
        "--keep", action="store_true", help="keep the other results that DIR already has"
    )
    parser.add_argument("--output", type=Path, default=OUTPUT, metavar="DIR")
    return parser.parse_args()


def plan(arguments: argparse.Namespace) -> tuple[Result, list[Job]]:
    """The result with its cases and without what will be run; and that, the first seed first."""
    from ..harness.machine import describe_cpu
    from .trainings import all_cases

    path = arguments.output / "quality.json"
    kept = arguments.keep and path.exists()
    old = {case["name"]: case for case in json.loads(path.read_text())["cases"]} if kept else {}
    cases, jobs = [], []
    for case in all_cases():
        had = old.get(case.name, {"modes": {}})["modes"]
        selected = not arguments.only or is_selected(case.name, arguments.only)
        runs: dict[str, list[Result]] = {}
        for mode in case.modes:
            asked = not arguments.modes or mode.name in arguments.modes
            if selected and (asked or (mode is FP32 and mode.name not in had)):
                jobs += [
                    Job(case.name, mode.name, seed, arguments.steps)
                    for seed in range(arguments.seeds)
                ]
                runs[mode.name] = []
            elif mode.name in had:
                runs[mode.name] = had[mode.name]
        if runs:
            about = {"name": case.name, "title": case.training.title, "rule": case.rule.name}
            steps = arguments.steps or case.training.steps
            cases.append({**about, "metric": case.training.metric, "steps": steps, "modes": runs})
    machine = describe_cpu(LIBRARIES)
    jobs.sort(key=lambda job: job.seed)
    return {"command": command_line(), "machine": machine, "cases": cases}, jobs


def done(job: Job) -> tuple[Job, Result]:
    return job, job.run()


def finished(jobs: list[Job], processes: int) -> Iterator[tuple[Job, Result]]:
    """As they end. The processes end with the iteration, however that ends."""
    os.environ.update(environment(threads=1))  # of the processes, before their libraries load
    with get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(done, jobs)


def measure(result: Result, jobs: list[Job], processes: int, path: Path) -> None:
    cases = {case["name"]: case for case in result["cases"]}
    start = time.time()
    for i, (job, run) in enumerate(finished(jobs, processes), 1):
        runs = cases[job.case]["modes"][job.mode]
        runs.append(run)
        runs.sort(key=lambda run: run["seed"])
        result["minutes"] = (time.time() - start) / 60
        write_json(path, result)
        what = f"{job.case} {job.mode}, seed {job.seed}: loss {run['loss']:.4f}"
        print(f"{i}/{len(jobs)} {what}, {run['seconds']:.0f} s", file=sys.stderr, flush=True)


def main() -> None:
    arguments = arguments_of()
    result, jobs = plan(arguments)
    if arguments.list:
        print("\n".join(case["name"] for case in result["cases"]))
        return
    if not jobs:
        sys.exit("no case is called so, or has such a mode: see --list")
    exit_on_termination()
    from .picture import draw
    from .report import markdown

    arguments.output.mkdir(parents=True, exist_ok=True)
    measure(result, jobs, arguments.jobs, arguments.output / "quality.json")
    text = markdown(result)
    (arguments.output / "quality.md").write_text(text + "\n")
    drawn = draw(result, arguments.output / "quality.png")
    print(f"{text}\n\n{arguments.output}: quality.json, quality.md, {drawn}")


if __name__ == "__main__":
    main()
