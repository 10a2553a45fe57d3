import numpy as np
import pytest

from charloom.errors import DataError
from charloom.text.encode import Symbols


def test_symbols_keep_their_numbers(rng):
    symbols, codes = Symbols(), rng.integers(0, 0x110001, (20, 50)).astype(np.uint32)
    numbers = [symbols.number(row) for row in codes]
    assert (symbols.codes[np.array(numbers)] == codes).all()
    assert len(set(symbols.codes.tolist())) == len(symbols)


def test_too_many_distinct_symbols_are_refused():
    symbols = Symbols()
    symbols.number(np.arange(65_536, dtype=np.uint32))
    with pytest.raises(DataError, match="more than 65,536 distinct"):
        symbols.number(np.array([70_000], np.uint32))
