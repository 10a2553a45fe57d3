"""The command line with a checkpoint after every range of steps: python -m tests.training.killable WORDS."""

import sys

from charloom.cli import main
from charloom.training import recorder

if __name__ == "__main__":
    recorder.CHECKPOINT_EVERY_S = 0.0
    sys.exit(main())
