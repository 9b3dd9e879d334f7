"""What `fusedstep COMMAND --help` prints, where a page says `<!-- help: COMMAND -->`."""

import os
import re
import subprocess
import sys


def on_page_markdown(markdown, **_):
    """Run the command line for each help that a page asks for."""
    return re.sub(r"^<!-- help: *(\w*) -->$", _help, markdown, flags=re.MULTILINE)


def _help(asked):
    command = [sys.executable, "-m", "fusedstep", *asked[1].split(), "--help"]
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return f"```text\n{text.stdout}```"
