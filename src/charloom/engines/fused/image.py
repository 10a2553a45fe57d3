"""A packed network as one array of bytes, for hosts without Python: `kernels/native/image.c` opens it.

header · layers (L) · ends (1) · numbers · small · sums

Each section begins at a multiple of 64 bytes, and all numbers are little-endian. The header has integers of eight bytes:
the word "charloom", the version, the size of the image, the size of a number, the network's shape, then where each
section begins, and how many elements the last three have.
"""

from __future__ import annotations

import numpy as np

from charloom.engines.fused.packing import Network

_VERSION, _ALIGNMENT = 1, 64

_SHAPE = (
    "cell",
    "activation",
    "residual",
    "folded",
    "vocab_size",
    "width",
    "cell_size",
    "mlp_size",
    "conv_width",
    "table_width",
)
_SECTIONS = ("layers", "ends", "numbers", "small", "sums")
_HEADER_SIZE = 256


def to_image(net: Network) -> bytes:
    """Write a network of float32 numbers, with matrices in float32 or int8, as an image.

    The image of a network is the same on every machine, and so is the text that the portable kernels generate from it.
    """
    assert net.numbers.dtype == np.float32, "an image has float32 numbers"
    parts = [
        np.ascontiguousarray(part, part.dtype.newbyteorder("<")).tobytes()
        for part in (getattr(net, name) for name in _SECTIONS)
    ]
    begins, size = [], _HEADER_SIZE
    for part in parts:
        begins.append(size)
        size += -(-len(part) // _ALIGNMENT) * _ALIGNMENT
    counts = [len(net.numbers), len(net.small), len(net.sums)]
    shape = [*(int(getattr(net, name)) for name in _SHAPE), len(net.layers)]
    words = np.array([_VERSION, size, net.numbers.itemsize, *shape, *begins, *counts], "<i8")
    image = bytearray(size)
    image[: 8 + words.nbytes] = b"charloom" + words.tobytes()
    for begin, part in zip(begins, parts, strict=True):
        image[begin : begin + len(part)] = part
    return bytes(image)
