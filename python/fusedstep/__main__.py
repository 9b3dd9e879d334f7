"""``python -m fusedstep``."""

import sys

from fusedstep._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
