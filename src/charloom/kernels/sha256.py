"""SHA-256 of a text that arrives in pieces, with a state that can be written down and taken up again.

Python's own hash cannot be continued by another process. Without the compiled library it is used all the same, and has
no state to write down.

Source: FIPS 180-4, §5.1.1 (padding) and §6.2; tested against Python's `hashlib`.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from charloom.kernels.library import library, pointer

_BLOCK_BYTES = 64
_SMALL = (
    1 << 14
)  # bytes collected before they are hashed, because a call takes as long as hashing some thousands
_INITIAL = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"


class Sha256:
    """A hash in progress.

    Example:
        >>> hash_of = Sha256()
        >>> hash_of.update(b"abc")
        >>> hash_of.hexdigest()[:16], hash_of.state()["num_bytes"]
        ('ba7816bf8f01cfea', 3)
    """

    def __init__(self, state: dict[str, Any] | None = None) -> None:
        """Begin, or go on from what `state` returned."""
        self._python = hashlib.sha256() if library() is None else None
        words = state["words"] if state else _INITIAL
        self._words = np.frombuffer(bytes.fromhex(words), ">u4").astype(np.uint32)
        self._rest = bytes.fromhex(state["rest"]) if state else b""
        self._num_bytes = int(state["num_bytes"]) if state else 0

    def update(self, data: bytes) -> None:
        """Take the next bytes."""
        if self._python is not None:
            self._python.update(data)
            return
        self._num_bytes += len(data)
        if len(self._rest) + len(data) < _SMALL:
            self._rest += data
            return
        missing = -len(self._rest) % _BLOCK_BYTES
        self._take(self._rest + data[:missing])
        self._take(data := data[missing:] if missing else data)
        self._rest = data[len(data) - len(data) % _BLOCK_BYTES :]

    def hexdigest(self) -> str:
        """The hash of all bytes taken so far, as 64 hexadecimal digits."""
        if self._python is not None:
            return self._python.hexdigest()
        ended = Sha256(self.state())
        zeros = -(self._num_bytes + 9) % _BLOCK_BYTES
        ended.update(b"\x80" + bytes(zeros) + (8 * self._num_bytes).to_bytes(8, "big"))
        ended.state()
        return ended._words.astype(">u4").tobytes().hex()

    def state(self) -> dict[str, Any] | None:
        """What another process needs to go on, as JSON; None without the compiled library."""
        if self._python is not None:
            return None
        self._take(self._rest)
        self._rest = self._rest[len(self._rest) - len(self._rest) % _BLOCK_BYTES :]
        words = self._words.astype(">u4").tobytes().hex()
        return {"words": words, "rest": self._rest.hex(), "num_bytes": self._num_bytes}

    def _take(self, data: bytes) -> None:
        compiled = library()
        assert compiled is not None
        take = compiled.function("sha256_blocks", "float32")
        take(pointer(self._words), data, len(data) // _BLOCK_BYTES, 0)
