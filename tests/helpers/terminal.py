"""A program's standard error on a terminal."""

import fcntl
import os
import struct
import subprocess
import termios


def stderr_on_a_terminal(command, environment):
    """Run the command; its exit code and what it said there."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))  # 0 x 0 shows no bar
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        said = b""
        try:
            while chunk := os.read(master, 4096):
                said += chunk
        except OSError:  # Linux: the other end was closed
            pass
    os.close(master)
    return process.returncode, said
