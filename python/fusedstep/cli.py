"""The command line: ``fusedstep demo``, ``fusedstep bench``, ``fusedstep info``.

A command is one entry of `COMMANDS`. Its work is imported when it runs, so that the others start at
once and need none of its libraries.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from fusedstep import __version__, available, show_config

__all__ = ["CommandError", "main"]

EPILOG = """\
examples:
  fusedstep demo                           train with five rules, compare them, draw a picture
  fusedstep demo --epochs 5 -o quick.png   the same in less time, into another file
  fusedstep bench                          what a step takes here, in NumPy, in torch
  fusedstep bench --rule sgd --sizes 1M    another rule, at one size
  fusedstep info                           what this installation runs on
  FUSEDSTEP_ISA=baseline fusedstep demo    on another instruction set: the same losses, to the bit

environment:
  FUSEDSTEP_ISA          instruction set to run on; `fusedstep info` lists those this CPU has,
                         the last is the default
  FUSEDSTEP_NUM_THREADS  the most threads that a step uses
  FUSEDSTEP_THREADING    where they come from: pool (the default) or openmp

exit codes:
  0    done
  2    wrong usage, or a wrong environment variable
  3    something that the command needs is missing, or the output cannot be written
  130  interrupted (Ctrl-C)
  141  whoever read the output left before its end (a pipe into `head`, say)
"""

DEMO = """\
Train a small network on scikit-learn's handwritten digits with SGD, Momentum, Adagrad, RMSprop and
Adam: the same starting weights, the same mini-batches, each rule with a learning rate of its own.
Print how well each learned and what its step took, and draw one picture: the loss by epoch, and the
path of each rule through a narrow ravine.

Everything is computed on this machine, nothing is downloaded. It takes some seconds and needs
matplotlib, scikit-learn and tqdm: pip install matplotlib scikit-learn tqdm
"""

BENCH = """\
Measure what one step takes on this machine, by the number of parameters: fusedstep against NumPy
(as in textbooks, and with all that can be done in place), against torch where it is installed, and
against the roofline, which makes the same reads and writes with one addition in the place of the
rule. Before that, all must compute the same. Print a table and draw a picture.

It takes half a minute and, at the default sizes, 1.2 GB of memory; the picture needs matplotlib.
fusedstep and torch run on the same number of threads, NumPy on one, all with default options.
"""

INFO = """\
Show what this installation runs on: version, instruction set, threads, compiler, and the
environment variables that steer it. Bug reports want its output.
"""


UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}


class CommandError(Exception):
    """What keeps a command from its work through no fault of the program; the message says what."""


class Command(NamedTuple):
    """A sub-command: what it is called, what its help says, what it takes and what it does."""

    name: str
    summary: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], None]


def _whole_number(at_least: int, at_most: int | None = None) -> Callable[[str], int]:
    expected = f">= {at_least}" if at_most is None else f"from {at_least} to {at_most}"

    def convert(text: str) -> int:
        with suppress(ValueError):
            number = int(text)
            if number >= at_least and (at_most is None or number <= at_most):
                return number
        raise argparse.ArgumentTypeError(f"expected a whole number {expected}, got {text!r}")

    return convert


def _size(text: str) -> int:
    digits, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "")
    if not (digits.isdecimal() and digits.isascii()) or int(digits) == 0:
        raise argparse.ArgumentTypeError(
            f"expected a whole number >= 1, with k, M or G for thousands, millions or billions, "
            f"got {text!r}"
        )
    return int(digits) * UNITS.get(unit, 1)


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, got {text!r}")
    return path


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-e",
        "--epochs",
        type=_whole_number(1),
        default=30,
        metavar="N",
        help="passes over the training set, >= 1 (default: %(default)s)",
    )
    parser.add_argument(
        "-s",
        "--seed",
        type=_whole_number(0),
        default=0,
        metavar="N",
        help="seed of split, starting weights and mini-batches, >= 0; the same seed gives the same "
        "losses (default: %(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=_png,
        default=Path("fusedstep-demo.png"),
        metavar="PATH",
        help="the PNG to write (default: %(default)s)",
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="no progress on standard error; the results are printed all the same",
    )


def _demo(args: argparse.Namespace) -> None:
    from fusedstep import demo

    demo.run(args.epochs, args.seed, args.output, args.quiet)


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-r",
        "--rule",
        choices=available(),
        default="adam",
        metavar="RULE",
        help=f"one of {', '.join(available())} (default: %(default)s)",
    )
    parser.add_argument(
        "-d",
        "--dtype",
        choices=("float32", "float64"),
        default="float32",
        help="of parameters, gradients and state (default: %(default)s)",
    )
    parser.add_argument(
        "-s",
        "--sizes",
        type=_size,
        nargs="+",
        default=[10**4, 10**5, 10**6, 10**7],
        metavar="N",
        help="numbers of parameters, such as 500, 10k or 2M (default: 10k 100k 1M 10M)",
    )
    parser.add_argument(
        "-t",
        "--threads",
        type=_whole_number(1, 4096),
        metavar="N",
        help="threads of fusedstep and torch (default: as `fusedstep info` says)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=_png,
        metavar="PATH",
        help="the PNG to write (default: fusedstep-bench.png, and none with --json or without "
        "matplotlib)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print a JSON object in the place of the table, for programs",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on standard error")


def _bench(args: argparse.Namespace) -> None:
    from fusedstep import bench

    bench.run(
        args.rule, args.dtype, args.sizes, args.threads, args.output, args.json, quiet=args.quiet
    )


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON object, for programs")


def _info(args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(show_config("dict"), indent=2))
    else:
        show_config()


COMMANDS = (
    Command("demo", "train with five rules and draw a picture", DEMO, _demo_arguments, _demo),
    Command("bench", "measure a step against NumPy and torch", BENCH, _bench_arguments, _bench),
    Command("info", "show what this installation runs on", INFO, _info_arguments, _info),
)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter  # keeps the lines of examples and exit codes
    parser = argparse.ArgumentParser(
        prog="fusedstep",
        description="The optimizer step for NumPy arrays: in place, in one sweep over memory.",
        epilog=EPILOG,
        formatter_class=raw,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"fusedstep {__version__}")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            description=command.description,
            epilog="exit codes and environment: fusedstep --help",
            formatter_class=raw,
            allow_abbrev=False,
        )
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _discard_stdout() -> None:
    """Let what is still buffered go nowhere: at exit Python would flush it, and fail again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv
        The arguments after the program's name; those of the process by default.
    """
    try:
        try:
            args = _parser().parse_args(argv)
            args.run(args)
            return 0
        finally:
            sys.stdout.flush()  # here, where a failure still becomes an exit code
    except SystemExit as stop:  # argparse has printed its help (0) or a usage error (2)
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        print("fusedstep: interrupted", file=sys.stderr)
        return 130
    except CommandError as error:
        print(f"fusedstep: {error}", file=sys.stderr)
        return 3
    except BrokenPipeError:  # 128 + SIGPIPE, as programs in C exit
        _discard_stdout()
        return 141
    except OSError as error:  # a full disk, say
        _discard_stdout()
        print(f"fusedstep: {error}", file=sys.stderr)
        return 3
