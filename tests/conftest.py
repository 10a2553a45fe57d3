"""Fixtures shared by every test: the one source of randomness, and the corpora beside the project."""

import atexit
import os
import shutil
import signal
import tempfile
import zlib
from pathlib import Path

# one sleeping thread a process: spinning pools on a busy machine train up to 40 times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# pictures are compared byte for byte: with matplotlib's own fonts only, and never with a list that another run left
os.environ["MPL_IGNORE_SYSTEM_FONTS"] = "1"
os.environ["MPLCONFIGDIR"] = tempfile.mkdtemp(prefix="charloom-matplotlib-")

import numpy as np
import pytest
from hypothesis import settings

from tests import attacks as attack_counts
from tests.browser import CHROMIUM

atexit.register(shutil.rmtree, os.environ["MPLCONFIGDIR"], ignore_errors=True)

settings.register_profile("charloom", deadline=None)  # the machine may be busy
settings.load_profile("charloom")

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config):
    """One file of counts for the run, made by its first process."""
    attack_counts.begin()


def pytest_terminal_summary(terminalreporter):
    """Print how many attacks there were, and how many lost something."""
    for kind, total in attack_counts.totals().items():
        terminalreporter.write_line(f"{kind}: {total['cases']:,} cases, {total['losses']:,} losses")


@pytest.fixture
def attacks(request):
    """The attacks of this test: see `tests.attacks`."""
    return attack_counts.attacks(request.node.nodeid)


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


@pytest.fixture
def ending_server(monkeypatch):
    """``charloom serve`` in this process listens on any free port, and gets SIGTERM once it answers."""
    pytest.importorskip("uvicorn", reason="the server needs uvicorn")
    from dataclasses import replace

    from charloom.serve import server

    real = server.run_server

    def run(models, address, limits, *, on_ready):
        def end(url):
            on_ready(url)
            signal.raise_signal(signal.SIGTERM)

        real(models, replace(address, port=0), limits, on_ready=end)

    monkeypatch.setattr(server, "run_server", run)


@pytest.fixture(autouse=True)
def _one_thread():
    """Every test finds torch at one thread, where torch is installed, and leaves it so; a training that asks for more gets more."""
    try:
        import torch
    except ImportError:
        yield
        return
    torch.set_num_threads(1)
    yield
    assert torch.get_num_threads() == 1, "this test left torch with another number of threads"


@pytest.fixture(scope="module")
def browser():
    """A running Chromium, where playwright is installed."""
    api = pytest.importorskip("playwright.sync_api")

    with api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def quick_calibration(monkeypatch):
    """`charloom plan` measures the speed of training for a moment only."""
    from charloom.forecast import calibration

    monkeypatch.setattr(calibration, "WARM_S", 0.02)
    monkeypatch.setattr(calibration, "MEASURED_S", 0.05)
