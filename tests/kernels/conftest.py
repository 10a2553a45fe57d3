"""Fixtures for tests of compiled loops."""

import pytest

from charloom.kernels import jit


@pytest.fixture
def without_numba(monkeypatch):
    def switch_off():
        monkeypatch.setattr(jit, "HAS_NUMBA", False)

    return switch_off
