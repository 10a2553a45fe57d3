"""Delete stale loops: Numba checks the file of the called loop, but not those of the loops that it calls."""

import importlib.util
from pathlib import Path

import pytest


@pytest.fixture(autouse=True, scope="session")
def _forget_stale_loops():
    folder = Path(importlib.util.find_spec("charloom.engines.fused").origin).parent
    kept = list(folder.rglob("*.nb?"))
    newest = max(path.stat().st_mtime for path in folder.rglob("*.py"))
    if any(path.stat().st_mtime < newest for path in kept):
        for path in kept:
            path.unlink(missing_ok=True)
