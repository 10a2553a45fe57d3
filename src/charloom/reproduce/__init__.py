"""The five published systems repeated: published and measured figures, mistakes, and a contest with charloom.

A system is a recipe, a corpus and its published figures. `repeat` trains it and compares the figures;
`contest` compares it with charloom's default recipe on held-out text, in the same time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from charloom.files import atomic_write, json_text, made_folder
from charloom.reproduce.best import Contest, contest
from charloom.reproduce.best import to_json as contest_json
from charloom.reproduce.measure import Repetition, repeat
from charloom.reproduce.measure import to_json as repetition_json
from charloom.reproduce.systems import System, find_systems, systems
from charloom.versions import versions

__all__ = [
    "Contest",
    "Repetition",
    "System",
    "contest",
    "contest_json",
    "find_systems",
    "repeat",
    "repetition_json",
    "systems",
    "write_json",
    "write_page",
]


def write_page(out: Path, done: Sequence[Repetition], results: Mapping[str, Any]) -> list[Path]:
    """Write ``reproduce.json`` and, with matplotlib, ``reproduce.html``; return the paths written."""
    from importlib.util import find_spec

    written = [write_json(out / "reproduce.json", results)]
    if find_spec("matplotlib") is not None:
        from charloom.reproduce.page import page

        written.append(out / "reproduce.html")
        atomic_write(written[-1], page(done).encode())
    return written


def write_json(path: Path, results: Mapping[str, Any]) -> Path:
    """Write results with the versions they depend on; create the folder if it is missing."""
    document = {"schema": 1, "versions": versions(), **results}
    with made_folder(path.parent):
        atomic_write(path, (json_text(document, indent=1) + "\n").encode())
    return path
