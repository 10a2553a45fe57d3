"""Compilation of loops."""

from charloom.kernels import jit


def test_numba_is_installed():
    assert jit.HAS_NUMBA
