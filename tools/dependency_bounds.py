"""Print the dependencies of pyproject.toml, optional ones too, at their oldest or newest supported versions, for pip.

    python tools/dependency_bounds.py oldest    numpy==2.0 … : each lower bound
    python tools/dependency_bounds.py newest    numpy>=2.0 … : whatever pip finds newest

PyTorch is left out: each build takes gigabytes, so only one version of it is installed and tested.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"
LEFT_OUT = ("torch", "charloom")


def requirements() -> list[str]:
    """Every requirement of the project and its extras, once, without PyTorch."""
    project = tomllib.loads(PROJECT.read_text("utf-8"))["project"]
    every = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    return sorted({one for one in every if re.match(r"[\w-]+", one)[0] not in LEFT_OUT})  # type: ignore[index]


def at_bound(requirement: str, which: str) -> str:
    """A requirement as it is, or pinned to its lower bound.

    Example:
        >>> at_bound("numpy>=2.0", "oldest"), at_bound("numpy>=2.0", "newest")
        ('numpy==2.0', 'numpy>=2.0')
    """
    return requirement.replace(">=", "==") if which == "oldest" else requirement


if __name__ == "__main__":
    sys.stdout.write("\n".join(at_bound(one, sys.argv[1]) for one in requirements()) + "\n")
