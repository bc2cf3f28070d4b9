"""Runs the command line: `python -m smolkit`."""

import sys

from smolkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
