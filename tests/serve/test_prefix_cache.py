"""Kept states: the longest beginning is found, and memory is bounded."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from charloom.serve.prefix_cache import Prefix, PrefixCache

SMALL = st.lists(st.integers(0, 2), max_size=6)


def prefix(size=4):
    return Prefix(np.zeros((1, size)), [{"h": np.zeros((1, size))}])


def ids(*numbers):
    return np.array(numbers, np.int64)


@given(kept=st.lists(SMALL, max_size=12), asked=SMALL)
def test_the_longest_beginning_is_found(kept, asked):
    cache = PrefixCache(10**6, 100)
    entries = {tuple(one): prefix() for one in kept}
    for one, entry in entries.items():
        cache.put("m", ids(*one), entry)
        cache.put("other", ids(*one, 9), prefix())
    lengths = [len(one) for one in entries if tuple(asked[: len(one)]) == one]
    length, found = cache.longest("m", ids(*asked))
    if lengths:
        assert length == max(lengths)
        assert found is entries[tuple(asked[:length])]
    else:
        assert (length, found) == (0, None)


def test_the_entry_used_longest_ago_is_dropped():
    cache = PrefixCache(10**6, 2)
    cache.put("m", ids(1), prefix())
    cache.put("m", ids(2), prefix())
    assert cache.longest("m", ids(1, 5))[0] == 1
    cache.put("m", ids(3), prefix())
    assert [cache.longest("m", ids(first))[0] for first in (1, 2, 3)] == [1, 0, 1]
    assert len(cache) == 2


def test_bytes_are_bounded_and_counted():
    cache = PrefixCache(10_000, 1000)
    for number in range(50):
        cache.put("m", ids(number), prefix(size=100))
        assert cache.num_bytes <= 10_000
    assert len(cache) == 10_000 // prefix(size=100).num_bytes()
    cache.put("m", ids(1000), prefix(size=10**6))
    assert (len(cache), cache.num_bytes) == (0, 0)
