"""``python -m fusedstep``."""

import sys

from fusedstep.cli import main

if __name__ == "__main__":
    sys.exit(main())
