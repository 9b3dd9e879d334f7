"""Fuzzing: python tests/fuzz/run.py [--seconds 20 | --long] [target ...].

libFuzzer drives what is told of arrays before a kernel sees them (clang with its sanitizers), and
atheris, which is libFuzzer for Python, the reader of checkpoints. A target whose tool is missing is
skipped, and says so. Corpora are grown anew each time, in --long for ten minutes a target.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
# With what each is compiled.
NATIVE = {"strides": "cpp/bindings/strides.cpp", "memory": "cpp/engine/memory.cpp"}
SANITIZED = ("-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")


def native(name, folder):
    """The command of a target in C++, or why there is none."""
    if shutil.which("clang++") is None:
        return None, "clang++ is not here"
    program = folder / name
    sources = (HERE / f"{name}.cpp", ROOT / NATIVE[name])
    options = ("-std=c++17", "-O1", "-g", *SANITIZED, "-I", ROOT / "cpp")
    command = ["clang++", *options, *sources, "-o", program]
    subprocess.run([str(word) for word in command], check=True)
    return [program], ""


def reader(name, folder):  # noqa: ARG001
    """The command of the target in Python, or why there is none."""
    if importlib.util.find_spec("atheris") is None:
        return None, "atheris is not here"
    return [sys.executable, HERE / "reader.py"], ""


TARGETS = {**dict.fromkeys(NATIVE, native), "reader": reader}


def fuzz(name, seconds):
    """Whether nothing was found in a target in this time."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        command, why_not = TARGETS[name](name, folder)
        if command is None:
            print(f"{name}: skipped: {why_not}")
            return True
        corpus = folder / "corpus"
        corpus.mkdir()
        limits = (f"-max_total_time={seconds}", "-max_len=512", "-len_control=0", "-timeout=20")
        words = [*command, corpus, *limits, "-print_final_stats=1", f"-artifact_prefix={ROOT}/"]
        done = subprocess.run(
            [str(word) for word in words], check=False, capture_output=True, text=True
        )
    said = done.stdout + done.stderr
    if done.returncode != 0:
        print(said)
    runs = [line for line in said.splitlines() if "number_of_executed_units" in line]
    print(
        f"{name}: {runs[-1].split()[-1] if runs else 'no'} inputs in {seconds} s, rc {done.returncode}"
    )
    return done.returncode == 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=int, default=20, help="for each target")
    parser.add_argument("--long", action="store_true", help="ten minutes for each")
    given = parser.parse_args()
    seconds = 600 if given.long else given.seconds
    passed = {name: fuzz(name, seconds) for name in given.targets or TARGETS}
    sys.exit(0 if all(passed.values()) else 1)


if __name__ == "__main__":
    main()
