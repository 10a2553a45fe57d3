"""CRC-32 as zlib computes it, three times as fast where the processor multiplies without carries.

Source: Gopal et al. (2009), "Fast CRC computation for generic polynomials using PCLMULQDQ instruction", Intel; the
polynomial is that of ISO 3309, and of `zlib.crc32`, which computes what is left and everything elsewhere.
"""

from __future__ import annotations

import zlib

import numpy as np

from charloom.kernels.library import library, pointer

_BLOCK_BYTES = 16
_SMALL = 1 << 10  # bytes below which a call takes longer than zlib


def crc32(data: bytes | memoryview, value: int = 0) -> int:
    """The CRC-32 of bytes that follow others, whose CRC-32 is `value`.

    Example:
        >>> hex(crc32(b"123456789")), crc32(b"789", crc32(b"123456")) == crc32(b"123456789")
        ('0xcbf43926', True)
    """
    view = memoryview(data).cast("B")
    compiled = library()
    if compiled is None or len(view) < _SMALL:
        return zlib.crc32(view, value)
    size = len(view) - len(view) % _BLOCK_BYTES
    found: int = compiled.function("crc32_blocks", "float32")(
        value, pointer(np.frombuffer(view, np.uint8)), size
    )
    return zlib.crc32(view, value) if found < 0 else zlib.crc32(view[size:], found)
