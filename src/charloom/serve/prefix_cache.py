"""States after texts that were read or written, so that a text that goes on from one is not read again."""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from charloom.engines import State

if TYPE_CHECKING:
    from jaxtyping import Float, Int64
    from numpy import ndarray as Array

_OVERHEAD_BYTES = 1024
"""What an entry takes besides its arrays, about."""

Key = tuple[str, int, bytes]
"""Model, number of ids, and their digest."""


class Prefix(NamedTuple):
    """The logits after some ids, (1, V), and the state, one row."""

    logits: Float[Array, "1 V"]
    state: State

    def num_bytes(self) -> int:
        """Memory that an entry takes."""
        leaves = sum(leaf.nbytes for layer in self.state for leaf in layer.values())
        return int(self.logits.nbytes + leaves + _OVERHEAD_BYTES)


class PrefixCache:
    """The states used last, bounded in number and bytes; the caller keeps it to one thread.

    A state depends on the ids alone, so one from here gives the same bits as reading the text.
    """

    def __init__(self, max_bytes: int, max_entries: int) -> None:
        self._max_bytes, self._max_entries = max_bytes, max_entries
        self._entries: OrderedDict[Key, Prefix] = OrderedDict()  # the one used last is last
        self._lengths: Counter[tuple[str, int]] = Counter()
        self.num_bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    def longest(self, model: str, ids: Int64[Array, " T"]) -> tuple[int, Prefix | None]:
        """The longest beginning of `ids` that was kept: its length and its state, or 0 and None."""
        lengths = sorted(length for name, length in self._lengths if name == model and length <= len(ids))
        digest, start, found = hashlib.blake2b(digest_size=16), 0, None
        for length in lengths:
            digest.update(_bytes(ids[start:length]))
            start, key = length, (model, length, digest.digest())
            if key in self._entries:
                found = key
        if found is None:
            return 0, None
        self._entries.move_to_end(found)
        return found[1], self._entries[found]

    def put(self, model: str, ids: Int64[Array, " T"], prefix: Prefix) -> None:
        """Keep the state after `ids`; the arrays must not be changed afterwards."""
        key = (model, len(ids), hashlib.blake2b(_bytes(ids), digest_size=16).digest())
        if key in self._entries:
            self._entries.move_to_end(key)
            return
        self._entries[key] = prefix
        self._lengths[key[:2]] += 1
        self.num_bytes += prefix.num_bytes()
        while self._entries and (self.num_bytes > self._max_bytes or len(self) > self._max_entries):
            old, dropped = self._entries.popitem(last=False)
            self.num_bytes -= dropped.num_bytes()
            self._lengths[old[:2]] -= 1
            if self._lengths[old[:2]] == 0:
                del self._lengths[old[:2]]


def _bytes(ids: Int64[Array, " T"]) -> bytes:
    return np.ascontiguousarray(ids, "<i8").tobytes()
