"""The command line: ``fusedstep demo``, ``bench``, ``inspect``, ``info``.

A command is one entry of `COMMANDS`. What it needs is imported when it runs, so that the others start
at once and need none of its libraries.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fusedstep import __version__, available, show_config
from fusedstep._cli.demos import DEMOS
from fusedstep._cli.errors import exit_code_of
from fusedstep._messages import shown, with_guess

if TYPE_CHECKING:
    from _typeshed import SupportsWrite

__all__ = ["COMMANDS", "Command", "main"]

EPILOG = """\
examples:
  fusedstep demo                           train with five rules, compare them, draw a figure
  fusedstep demo list                      what else there is to see
  fusedstep bench                          time a step on this machine, against NumPy and torch
  fusedstep bench --rule sgd --sizes 1M    another rule, at one size
  fusedstep bench --state 8bit             state of 8 bits, against float32 and 8-bit optimizers
  fusedstep inspect run.safetensors        what a checkpoint holds, and whether it is intact
  fusedstep info                           what this installation runs on
  FUSEDSTEP_ISA=baseline fusedstep demo    on another instruction set: the same losses, to the bit

environment:
  FUSEDSTEP_ISA          instruction set to run on; `fusedstep info` lists the ones this CPU has,
                         the last of which is the default
  FUSEDSTEP_NUM_THREADS  maximum number of threads per step
  FUSEDSTEP_THREADING    where the threads come from: pool (the default) or openmp

exit codes:
  0    success
  1    the file is no checkpoint, or a damaged one
  2    wrong usage, or an invalid environment variable
  3    something the command needs is missing, or the output cannot be written
  130  interrupted (Ctrl-C)
  141  the reader of the output closed it early (as `head` does)
"""

DEMO = """\
Show what a rule does, in numbers and a figure. `fusedstep demo list` names the demos; without a
name it is `digits`: five rules train a small network on scikit-learn's handwritten digits.

Everything is computed on this machine; nothing is downloaded. A demo takes a few seconds and needs
matplotlib and tqdm, some also scikit-learn or ml_dtypes:
pip install matplotlib ml_dtypes scikit-learn tqdm
"""

BENCH = """\
Time one step on this machine, by the number of parameters: fusedstep against NumPy (the textbook
form and, of adam, everything in place), against torch if it is installed, and against the roofline,
which makes the same reads and writes with one addition instead of the rule. Nobody is timed who
computes something else; of a rule that nobody else here computes, the table says so. Print a table
and draw a picture.

All take turns in 9 rounds. Within a stretch of 0.1 s the median of the steps counts; ratios are
taken within a round, and the table shows their median over the rounds. Beside a ratio that is
uncertain there is a ~ and an interval, from the second lowest to the second highest round, which
holds the true median with 96%. Where stalls make the mean differ from the median, because other
programs took the CPU for instance, it has a line of its own: it is what a training loop pays.

With parameters, gradients or state in fewer bits the table compares with fusedstep in float32, and
with those of torch, torchao, bitsandbytes and DeepSpeed that store the same. (DeepSpeed compiles
its optimizer at first use, which takes a minute.) Each is timed only if it is as near to NumPy's
step in float32 as the formats allow. The roofline then moves as many bytes as such a step.

It takes half a minute and, at the default sizes, 1.2 GB of memory; the picture needs matplotlib.
fusedstep and torch use the same number of threads, NumPy one, all with default options.
"""

INSPECT = """\
Verify a checkpoint, and print what it holds: the optimizer, its options, your own numbers, and
every array with its dtype and shape. Nothing is changed.
"""

INFO = """\
Show what this installation runs on: version, instruction set, threads, compiler, and the
environment variables that affect it. Please include its output in a bug report.
"""

UNITS = {"k": 10**3, "M": 10**6, "G": 10**9}


class Command(NamedTuple):
    """A subcommand: its name, its help, its arguments and what it does."""

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
        raise argparse.ArgumentTypeError(f"expected a whole number {expected}, got {shown(text)}")

    return convert


def _size(text: str) -> int:
    digits, unit = (text[:-1], text[-1]) if text[-1:] in UNITS else (text, "")
    with suppress(ValueError):  # of int: a number of thousands of digits
        if digits.isdecimal() and digits.isascii() and int(digits) > 0:
            return int(digits) * UNITS.get(unit, 1)
    raise argparse.ArgumentTypeError(
        f"expected a whole number >= 1, with k, M or G for thousands, millions or billions, "
        f"got {shown(text)}"
    )


def _rule(text: str) -> str:
    rule = text.lower()
    if rule not in available():
        raise argparse.ArgumentTypeError(
            f"no rule is named {with_guess(text, available())}; expected one of "
            f"{', '.join(available())}"
        )
    return rule


def _png(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() != ".png":
        raise argparse.ArgumentTypeError(f"expected a name that ends in .png, got {shown(text)}")
    return path


def _demo_name(text: str) -> str:
    names = ["list", *(demo.name for demo in DEMOS)]
    if text not in names:
        raise argparse.ArgumentTypeError(
            f"no demo is named {with_guess(text, names)}; expected one of {', '.join(names)}"
        )
    return text


def _demo_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name",
        nargs="?",
        type=_demo_name,
        default="digits",
        metavar="NAME",
        help="a demo, or `list` for what there is (default: %(default)s)",
    )
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="DIR",
        help="the folder for the figure, NAME.png (default: the current one; with --json no figure)",
    )
    parser.add_argument(
        "-f",
        "--format",
        choices=("png", "svg"),
        default="png",
        help="of the figure (default: %(default)s)",
    )
    parser.add_argument(
        "-s",
        "--seed",
        type=_whole_number(0),
        default=0,
        metavar="N",
        help="seed of what is random, >= 0; the same seed gives the same numbers "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print the numbers behind the figure as a JSON object"
    )
    parser.add_argument(
        "-q",
        "--quiet",
        action="store_true",
        help="no progress on standard error; the results are still printed",
    )


def _demo(args: argparse.Namespace) -> None:
    from fusedstep._cli import demo

    if args.name == "list":
        demo.show_list(args.json)
    else:
        demo.run(args.name, args.seed, args.output, args.format, args.json, args.quiet)


def _bench_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-r",
        "--rule",
        type=_rule,
        default="adam",
        metavar="RULE",
        help=f"one of {', '.join(available())}, in any case (default: %(default)s)",
    )
    parser.add_argument(
        "-d",
        "--dtype",
        "--param",
        choices=("float32", "float64", "bfloat16", "float16"),
        default="float32",
        metavar="FORMAT",
        help="parameters and gradients: one of %(choices)s (default: %(default)s)",
    )
    parser.add_argument(
        "--state",
        choices=("float32", "bfloat16", "8bit"),
        default="float32",
        help="format of the state (default: %(default)s, or float64 for such parameters)",
    )
    parser.add_argument(
        "--rounding",
        choices=("nearest", "stochastic", "kahan"),
        default="nearest",
        help="how parameters of 16 bits are rounded (default: %(default)s)",
    )
    parser.add_argument(
        "--master-bits",
        type=int,
        choices=(32, 24),
        help="bits of a parameter of 16 and the correction that the optimizer holds (default: none)",
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
        help="threads of fusedstep and torch (default: see `fusedstep info`)",
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
        help="print a JSON object instead of the table, for programs",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress on standard error")


def _bench(args: argparse.Namespace) -> None:
    from fusedstep._bench.modes import Mode
    from fusedstep._cli import bench

    mode = Mode(args.dtype, args.state, args.rounding, args.master_bits)
    bench.run(args.rule, mode, args.sizes, args.threads, args.output, args.json, quiet=args.quiet)


def _info_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="as a JSON object, for programs")


def _info(args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps(show_config("dict"), indent=2))
    else:
        show_config()


def _inspect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="the checkpoint")
    parser.add_argument("--json", action="store_true", help="as a JSON object, for programs")


def _inspect(args: argparse.Namespace) -> None:
    from fusedstep._cli import inspect

    inspect.run(args.file, args.json)


COMMANDS = (
    Command("demo", "show what rules do, in figures", DEMO, _demo_arguments, _demo),
    Command("bench", "time a step against NumPy and torch", BENCH, _bench_arguments, _bench),
    Command("inspect", "show what a checkpoint holds", INSPECT, _inspect_arguments, _inspect),
    Command("info", "show what this installation runs on", INFO, _info_arguments, _info),
)


class _Parser(argparse.ArgumentParser):
    """One whose help fails to be printed as all other output does: argparse ignores it."""

    def _print_message(self, message: str, file: SupportsWrite[str] | None = None) -> None:
        if message:
            (file or sys.stderr).write(message)


def _parser() -> argparse.ArgumentParser:
    raw = argparse.RawDescriptionHelpFormatter  # keeps the lines of examples and exit codes
    parser = _Parser(
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    argv
        The arguments after the program's name; the process's own by default.
    """

    def command() -> None:
        args = _parser().parse_args(argv)
        args.run(args)

    return exit_code_of(command)
