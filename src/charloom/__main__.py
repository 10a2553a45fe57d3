"""Run the command line as ``python -m charloom``."""

from charloom.cli import entry_point

if __name__ == "__main__":
    entry_point()
