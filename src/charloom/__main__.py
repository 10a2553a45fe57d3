"""``python -m charloom`` is ``charloom``."""

import sys

from charloom.cli import main

if __name__ == "__main__":
    sys.exit(main())
