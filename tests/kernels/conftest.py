"""Fixtures for tests of compiled functions."""

import pytest

from charloom.kernels import linear_scan, masks, suffix_automaton


@pytest.fixture
def without_library(monkeypatch):
    """A call after which NumPy, or Python, computes in place of the compiled library."""

    def switch_off():
        for module in (linear_scan, masks, suffix_automaton):
            monkeypatch.setattr(module, "library", lambda: None)

    return switch_off
