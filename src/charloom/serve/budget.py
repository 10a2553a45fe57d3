"""Memory that requests share: how much of it is taken, and what is refused when there is no more."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from charloom.serve.refusal import full


class Budget:
    """So many bytes, for one event loop.

    Args:
        what: the memory is for, in a message.
        most: bytes in all.

    Example:
        >>> budget = Budget("bodies", 100)
        >>> with budget.share() as share:
        ...     share.grow(60)
        ...     budget.taken
        60
        >>> budget.taken
        0
    """

    def __init__(self, what: str, most: int) -> None:
        self.what, self.most, self.taken = what, most, 0

    @contextlib.contextmanager
    def share(self) -> Iterator[Share]:
        """A share for one request, which is given back at the end."""
        share = Share(self)
        try:
            yield share
        finally:
            share.give_back()


class Share:
    """What one request takes of a budget."""

    def __init__(self, budget: Budget) -> None:
        self._budget, self._taken = budget, 0

    def grow(self, num_bytes: int) -> None:
        """Take more.

        Raises:
            Refusal: 429, the other requests have taken too much.
        """
        if self._budget.taken + num_bytes > self._budget.most:
            raise full(f"{self._budget.what} take all {self._budget.most >> 20} MiB that they may")
        self._taken += num_bytes
        self._budget.taken += num_bytes

    def give_back(self) -> None:
        """Take nothing any more."""
        self._budget.taken -= self._taken
        self._taken = 0
