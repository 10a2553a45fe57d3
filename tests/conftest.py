"""Fixtures shared by every test: the one source of randomness, and the corpora beside the project."""

import os
import zlib
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def rng(request):
    """A generator seeded by the test's own name: the same in every order, another for every case."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture(scope="session")
def data():
    """The folder of corpora: ``$CHARLOOM_DATA``, or ``../shared/data`` beside the project."""
    folder = Path(os.environ.get("CHARLOOM_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "tinyshakespeare.txt").is_file():
        pytest.skip(f"no corpora in {folder}: set CHARLOOM_DATA to a folder that holds tinyshakespeare.txt")
    return folder
