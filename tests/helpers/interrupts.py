"""Ctrl-C at every point of a call."""

import sys
from pathlib import Path

import fusedstep

# Where Python and the compiled core change together.
FILES = {
    str(Path(fusedstep.__file__).parent / name)
    for name in (
        "_engine.py",
        "_group.py",
        "_setup.py",
        "_state.py",
        "_steps.py",
        "ema.py",
        "optimizer.py",
        "rules/averaging.py",
    )
}


class Interrupter:
    """Raises KeyboardInterrupt at the n-th bytecode within the library."""

    def __init__(self, n):
        self.left = n

    def trace(self, frame, event, argument):  # noqa: ARG002
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
        return self.trace

    def __enter__(self):
        self.before = sys.gettrace()
        sys.settrace(self.trace)

    def __exit__(self, *_):
        sys.settrace(self.before)


def interrupted_everywhere(make, call, check):
    """`call(thing)`, cut short at every bytecode of the library; `check(thing)` follows each time."""
    n = 0
    while True:
        n += 1
        thing = make()
        interrupter = Interrupter(n)
        try:
            with interrupter:
                call(thing)
        except KeyboardInterrupt:
            check(thing, False)
            continue
        check(thing, True)
        assert n > 10
        return
