"""A lease that is held: renewed by a thread while the block runs, and given back at its end."""

from __future__ import annotations

import threading

from charloom.errors import CharloomError
from charloom.tuning.store import SearchStore

LEASE_S = 60.0
"""A lease that is not renewed for so long is another worker's to take: the holder was killed or has lost the store."""


class HeldLease:
    """Keep a lease that `SearchStore.claim` returned; `is_lost` tells whether another worker has taken it over."""

    def __init__(self, store: SearchStore, key: int, holder: str, lease_s: float) -> None:
        self.store, self.key, self.holder, self.lease_s = store, key, holder, lease_s
        self.is_lost = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease-{key}", daemon=True)

    def __enter__(self) -> HeldLease:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()
        self.store.release(self.key, self.holder)

    def check(self) -> bool:
        """Renew now; whether the lease is still held."""
        if not self.is_lost and not self.store.renew(self.key, self.holder, self.lease_s):
            self.is_lost = True
        return not self.is_lost

    def _keep(self) -> None:
        """Renew three times per lease; a store that does not answer is asked again, until the lease has expired anyway."""
        while not self._over.wait(self.lease_s / 3) and not self.is_lost:
            try:
                self.check()
            except CharloomError:
                continue
