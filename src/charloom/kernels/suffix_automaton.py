"""Substrings of a short text that occur in a long one: a suffix automaton reads the long text once.

A state v represents substrings of the short text with the same end positions; the longest has `length[v]`
symbols, the others are its suffixes, down to one symbol more than those of `link[v]`, the next shorter state.

    reading    after each symbol, (v, l) is the longest suffix of the text read that is in the short text     (1)
               best_v = max l, end_v = where it was first reached, seen_v = where v was first reached at all
    spreading  from long states to short: text that reached v reached all of u = link[v],                     (2)
               best_u = length_u, end_u = min over these v of seen_v
    answering  from short states to long: a state that was never reached takes the values of its link.        (3)

The prefix state of each position then holds the longest copy that ends there, and where it first ends in the
long text. Memory depends on the short text only. Without the compiled library the same loops run in Python, hundreds of times slower.

Source: Blumer et al. (1985), "The smallest automaton recognizing the subwords of a text"; reading as in
Ukkonen & Wood (1993).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.kernels.library import library, pointer

if TYPE_CHECKING:
    from jaxtyping import Int32, Int64
    from numpy import ndarray as Array

_NEVER = np.iinfo(np.int64).max


def _build(columns: Any, num_columns: Any, length: Any, link: Any, edges: Any, prefix: Any) -> Any:
    """Add the symbols one by one; write the state of each prefix to `prefix`; return the number of states."""
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
            if length[u] > length[v] + 1:  # u's longer substrings end at fewer positions: split them off
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
    """Equation (1) over one piece; updates `at`, which is (v, l, symbols read)."""
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
    """Equations (2) and (3) over all states except the root; `order` has the longest first."""
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


class Automaton:
    """The suffix automaton of a short text, and the long text read so far.

    Args:
        columns: the short text, (n,), numbers from 0 to `num_columns` − 1, all of which occur.
        num_columns: distinct symbols of the short text; the edge table has 2n·`num_columns` entries of 4 bytes.

    Example:
        >>> automaton = Automaton(np.array([0, 1, 2], np.int32), 3)
        >>> automaton.read(np.array([1, 2, -1, 0], np.int32))
        >>> lengths, ends = automaton.copies()
        >>> lengths.tolist(), ends.tolist()
        ([1, 1, 2], [4, 1, 2])
    """

    def __init__(self, columns: Int32[Array, " n"], num_columns: int) -> None:
        most = 2 * len(columns) + 1
        self._length, self._link = np.zeros(most, np.int32), np.zeros(most, np.int32)
        self._edges = np.full(most * num_columns, -1, np.int32)
        self._prefix = np.empty(len(columns), np.int32)
        self._num_columns = num_columns
        arrays = (self._length, self._link, self._edges, self._prefix)
        num_states = _run("automaton_build", _build, columns, num_columns, *arrays)
        self._length, self._link = self._length[:num_states], self._link[:num_states]
        self._best = np.zeros(num_states, np.int32)
        self._end, self._seen = np.zeros(num_states, np.int64), np.full(num_states, _NEVER, np.int64)
        self._at = np.zeros(3, np.int64)

    def read(self, columns: Int32[Array, " m"]) -> None:
        """Read the next piece of the long text, with −1 for every symbol that is not in the short text."""
        arrays = (self._length, self._link, self._edges, self._best, self._end, self._seen, self._at)
        _run("automaton_read", _read, columns, self._num_columns, *arrays)

    def copies(self) -> tuple[Int32[Array, " n"], Int64[Array, " n"]]:
        """Find, for each position of the short text, the longest substring ending there that was read.

        Returns:
            Its length in symbols, and how many symbols were read when it first ended; 0 and 0 if none.
        """
        order = (np.argsort(-self._length[1:]) + 1).astype(np.int32)
        best, end, seen = self._best.copy(), self._end.copy(), self._seen.copy()
        _run("automaton_spread", _spread, order, self._length, self._link, best, end, seen)
        return best[self._prefix], end[self._prefix]


def _run(name: str, plain: Callable[..., Any], first: Int32[Array, " n"], *others: Any) -> Any:
    """Call a compiled function on the first array, its length, and the others; without the library, the same loop here.

    In Python the arrays are memory views, which it indexes faster.
    """
    compiled = library()
    if compiled is None:
        views: list[Any] = [memoryview(x) if isinstance(x, np.ndarray) else x for x in (first, *others)]  # type: ignore[arg-type]
        return plain(*views)
    first = np.ascontiguousarray(first)
    passed = [pointer(x) if isinstance(x, np.ndarray) else x for x in others]
    return compiled.function(name, "float32")(pointer(first), len(first), *passed)
