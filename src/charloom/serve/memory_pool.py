"""Memory that requests share: how much of it is taken, and what is refused when there is no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from charloom.serve.refusal import full


class MemoryPool:
    """So many bytes, for one event loop.

    Args:
        what: the memory is for, in a message.
        most: bytes in all.

    Example:
        >>> pool = MemoryPool("bodies", 100)
        >>> with pool.share() as share:
        ...     share.grow(60)
        ...     pool.taken
        60
        >>> pool.taken
        0
    """

    def __init__(self, what: str, most: int) -> None:
        self.what, self.most, self.taken = what, most, 0

    @contextlib.contextmanager
    def share(self) -> Iterator[MemoryShare]:
        """A share for one request, which is given back at the end."""
        share = MemoryShare(self)
        try:
            yield share
        finally:
            share.give_back()


class MemoryShare:
    """What one request takes of a pool."""

    def __init__(self, pool: MemoryPool) -> None:
        self._pool, self._taken = pool, 0

    def grow(self, num_bytes: int) -> None:
        """Take more.

        Raises:
            Refusal: 429, the other requests have taken too much.
        """
        if self._pool.taken + num_bytes > self._pool.most:
            raise full(f"{self._pool.what} take all {self._pool.most >> 20} MiB that they may")
        self._taken += num_bytes
        self._pool.taken += num_bytes

    def give_back(self) -> None:
        """Take nothing any more."""
        self._pool.taken -= self._taken
        self._taken = 0
