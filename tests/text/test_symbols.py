"""The numbering of symbols: stable, complete, bounded."""

import numpy as np
import pytest

from charloom.errors import DataError
from charloom.kernels.utf8 import Kind
from charloom.text.symbols import Symbols


def test_symbols_keep_their_numbers(rng):
    symbols = Symbols()
    codes = rng.integers(0, 0x110000, (20, 50))
    codes[(codes >= 0xD800) & (codes < 0xE000)] = 0x61
    texts = ["".join(map(chr, row)) for row in codes.tolist()]
    numbers = [symbols.numbers(text.encode(), Kind.CODE_POINTS).copy() for text in texts]
    assert (symbols.codes[np.array(numbers)] == codes).all()
    assert len(set(symbols.codes.tolist())) == len(symbols)


def test_too_many_distinct_symbols_are_refused():
    symbols = Symbols()
    symbols.add(list(range(65_536)))
    with pytest.raises(DataError, match="more than 65,536 distinct"):
        symbols.number(70_000)
