"""What of one text stands in another: a suffix automaton of the short text, through which the long one is read once.

A state v of the automaton stands for substrings of the short text that end at the same places; the longest has `length[v]`
symbols, the others are its suffixes, down to one symbol more than those of `link[v]`, the next shorter state.

    reading   after each symbol, (v, l) is the longest suffix of what was read that is a substring of the short text   (1)
              best_v = max l, end_v = where it was first reached, seen_v = where v was first reached at all
    spreading from long states to short: what reached v reached all of u = link[v],                                    (2)
              best_u = length_u, end_u = min over these v of seen_v
    answering from short states to long: a state that nothing reached knows what its link knows.                       (3)

So the prefix state of each position holds the longest copy that ends there and where that copy first ends in the long
text. Memory depends on the short text alone.

Source: Blumer et al. (1985), "The smallest automaton recognizing the subwords of a text"; reading as in Ukkonen & Wood (1993).
Where Numba is missing the same loops run over memory views, about 15 times slower.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.engines.kernels import compiling

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64
    from numpy import ndarray as Array

_NEVER = np.iinfo(np.int64).max


def _build(columns: Any, num_columns: Any, length: Any, link: Any, edges: Any, prefix: Any) -> Any:
    """Add the symbols one by one; `prefix` gets the state of each prefix. Returns the number of states."""
    num_states, last = 1, 0
    link[0] = -1
    for i in range(len(columns)):
        c, new = columns[i], num_states
        num_states += 1
        length[new] = i + 1
        v = last
        while v >= 0 and edges[v * num_columns + c] < 0:
            edges[v * num_columns + c] = new
            v = link[v]
        if v >= 0:
            u = edges[v * num_columns + c]
            if length[u] > length[v] + 1:  # u's longer substrings end at fewer places: part them
                clone = num_states
                num_states += 1
                length[clone], link[clone] = length[v] + 1, link[u]
                for k in range(num_columns):
                    edges[clone * num_columns + k] = edges[u * num_columns + k]
                while v >= 0 and edges[v * num_columns + c] == u:
                    edges[v * num_columns + c] = clone
                    v = link[v]
                link[u] = clone
                u = clone
            link[new] = u
        prefix[i] = new
        last = new
    return num_states


def _read(
    columns: Any,
    num_columns: Any,
    length: Any,
    link: Any,
    edges: Any,
    best: Any,
    end: Any,
    seen: Any,
    at: Any,
) -> None:
    """Equation (1) over one piece; `at` is (v, l, symbols read) and is left as it is after the piece."""
    v, l, position = at[0], at[1], at[2]
    for j in range(len(columns)):
        c = columns[j]
        position += 1
        if c < 0:  # not in the short text
            v, l = 0, 0
            continue
        while edges[v * num_columns + c] < 0:  # the root has an edge for each symbol
            v = link[v]
            l = length[v]
        v = edges[v * num_columns + c]
        l += 1
        if l > best[v]:
            if best[v] == 0:
                seen[v] = position
            best[v], end[v] = l, position
    at[0], at[1], at[2] = v, l, position


def _spread(order: Any, length: Any, link: Any, best: Any, end: Any, seen: Any) -> None:
    """Equations (2) and (3) over the states but the root, longest first."""
    for k in range(len(order)):
        v = order[k]
        u = link[v]
        if best[v] > 0 and u > 0:
            if best[u] < length[u]:
                best[u], end[u] = length[u], seen[v]
            elif seen[v] < end[u]:
                end[u] = seen[v]
            if seen[v] < seen[u]:
                seen[u] = seen[v]
    for k in range(len(order) - 1, -1, -1):
        v = order[k]
        if best[v] == 0:
            best[v], end[v] = best[link[v]], end[link[v]]


Loop = Callable[..., Any]
_PLAIN: tuple[Loop, Loop, Loop] = (_build, _read, _spread)
_COMPILED = _PLAIN
if compiling.HAS_NUMBA:
    from numba import njit

    with warnings.catch_warnings():  # a read-only home: Numba warns that it compiles in memory only
        warnings.simplefilter("ignore")
        _COMPILED = (
            njit(cache=True, nogil=True)(_build),
            njit(cache=True, nogil=True)(_read),
            njit(cache=True, nogil=True)(_spread),
        )


class Automaton:
    """The suffix automaton of a short text, and the long text read so far.

    Args:
        columns: the short text, (n,), numbers from 0 to `num_columns` − 1, each of which occurs.
        num_columns: distinct symbols of the short text. The table of edges has 2n·`num_columns` entries of 4 bytes.

    Example:
        >>> automaton = Automaton(np.array([0, 1, 2], np.int32), 3)
        >>> automaton.read(np.array([1, 2, -1, 0], np.int32))
        >>> lengths, ends = automaton.copies()
        >>> lengths.tolist(), ends.tolist()
        ([1, 1, 2], [4, 1, 2])
    """

    def __init__(self, columns: Int32[Array, " n"], num_columns: int) -> None:
        self._build, self._read, self._spread = _COMPILED if compiling.HAS_NUMBA else _PLAIN
        most = 2 * len(columns) + 1
        self._length, self._link = np.zeros(most, np.int32), np.zeros(most, np.int32)
        self._edges = np.full(most * num_columns, -1, np.int32)
        self._prefix = np.empty(len(columns), np.int32)
        self._num_columns = num_columns
        arrays = _given(columns, self._length, self._link, self._edges, self._prefix)
        num_states = int(self._build(arrays[0], num_columns, *arrays[1:]))
        self._length, self._link = self._length[:num_states], self._link[:num_states]
        self._best = np.zeros(num_states, np.int32)
        self._end, self._seen = np.zeros(num_states, np.int64), np.full(num_states, _NEVER, np.int64)
        self._at = np.zeros(3, np.int64)

    def read(self, columns: Int32[Array, " m"]) -> None:
        """Read the next piece of the long text: columns of the short text's symbols, −1 for every other symbol."""
        arrays = _given(
            columns, self._length, self._link, self._edges, self._best, self._end, self._seen, self._at
        )
        self._read(arrays[0], self._num_columns, *arrays[1:])

    def copies(self) -> tuple[Int32[Array, " n"], Int64[Array, " n"]]:
        """For each position of the short text, the longest stretch ending there that stands in what was read.

        Returns:
            Its length in symbols, and the number of symbols read when it had first been read; 0 and 0 where there is none.
        """
        order = (np.argsort(-self._length[1:]) + 1).astype(np.int32)
        best, end, seen = self._best.copy(), self._end.copy(), self._seen.copy()
        self._spread(*_given(order, self._length, self._link, best, end, seen))
        return best[self._prefix], end[self._prefix]


def _given(*arrays: Any) -> tuple[Any, ...]:
    """Arrays as the loops take them: as they are when compiled, else as memory views, which Python indexes faster."""
    return arrays if compiling.HAS_NUMBA else tuple(map(memoryview, arrays))
