"""Run the command line as ``python -m charloom``."""

import sys

from charloom.cli import main

if __name__ == "__main__":
    sys.exit(main())
