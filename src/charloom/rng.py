"""Randomness as a function: every draw is Philox4x32-10 of its address, without any hidden state.

    key     = (seed mod 2³², seed div 2³²)
    counter = (block, lane, step, purpose)

One counter gives four 32-bit words; `block` counts these groups within an address. So a resumed run, another
number of ranks or another batch size draws the same numbers.

Source: Salmon, Moraes, Dror & Shaw (2011), "Parallel random numbers: as easy as 1, 2, 3", §3.3; tested against the
known-answer vectors of the authors' Random123 library.
"""

from __future__ import annotations

import math
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jaxtyping import Float64, Int, Int64, UInt32, UInt64
    from numpy import ndarray as Array

_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)
ROUNDS = 10
_PAIRS_OF_ROUNDS = 4  # of `permuted`


class Purpose(IntEnum):
    """The purpose of a draw; the numbers are part of the file format of results and never change."""

    INIT = 1
    WINDOW = 2
    ORDER = 3
    OFFSET = 4
    RESET = 5
    STATE = 6
    SAMPLE = 7
    EVALUATE = 8
    SPLIT = 9
    BOOTSTRAP = 10
    DROPOUT = 1 << 16  # plus the site's number


def philox(counter: UInt32[Array, "n 4"], seed: int) -> UInt32[Array, "n 4"]:
    """Apply ten Philox4x32 rounds to each counter row under the 64-bit key `seed`."""
    x0, x1, x2, x3 = (counter[:, i].astype(np.uint64) for i in range(4))
    key0, key1 = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    for _ in range(ROUNDS):
        product0, product1 = x0 * _MULTIPLIERS[0], x2 * _MULTIPLIERS[1]
        x0, x1, x2, x3 = (
            (product1 >> _SHIFT) ^ x1 ^ np.uint64(key0),
            product1 & _LOW,
            (product0 >> _SHIFT) ^ x3 ^ np.uint64(key1),
            product0 & _LOW,
        )
        key0, key1 = (key0 + _WEYL[0]) & 0xFFFFFFFF, (key1 + _WEYL[1]) & 0xFFFFFFFF
    return np.stack([x0, x1, x2, x3], axis=1).astype(np.uint32)


def random_bits(seed: int, purpose: int, step: int, lanes: Sequence[int], count: int) -> UInt32[Array, "L n"]:
    """Draw `count` 32-bit words for each lane.

    Args:
        seed: the run's seed, 64 bits.
        purpose: a `Purpose`, for dropout plus the site's number.
        step: optimiser step, or position in a text; taken modulo 2³².
        lanes: global lanes or sample numbers, each below 2³².
        count: words per lane.
    """
    blocks = -(-count // 4)
    counter = np.empty((len(lanes), blocks, 4), np.uint32)
    counter[:, :, 0] = np.arange(blocks, dtype=np.uint32)
    counter[:, :, 1] = np.asarray(lanes, np.uint32)[:, None]
    counter[:, :, 2] = step & 0xFFFFFFFF
    counter[:, :, 3] = purpose
    words = philox(counter.reshape(-1, 4), seed)
    return words.reshape(len(lanes), blocks * 4)[:, :count]


def uniforms(seed: int, purpose: int, step: int, lanes: Sequence[int], count: int) -> Float64[Array, "L n"]:
    """Draw `count` uniform numbers in [0, 1) for each lane, with the 53 bits of a double.

    Example:
        >>> bool((uniforms(0, Purpose.SAMPLE, 5, [3], 1) == uniforms(0, Purpose.SAMPLE, 5, [2, 3], 1)[1]).all())
        True
    """
    words = random_bits(seed, purpose, step, lanes, 2 * count).astype(np.uint64)
    return _doubles(words[:, 0::2], words[:, 1::2])


def _doubles(high: UInt64[Array, "*n"], low: UInt64[Array, "*n"]) -> Float64[Array, "*n"]:
    return ((high >> np.uint64(5)) * np.uint64(1 << 26) + (low >> np.uint64(6))) * 2.0**-53


def uniforms_at(
    seed: int, purpose: int, steps: Int[Array, " S"], lanes: Int[Array, " S"]
) -> Float64[Array, " S"]:
    """One uniform number for each pair of step and lane: `uniforms` of many addresses in one call.

    Example:
        >>> u = uniforms_at(0, Purpose.RESET, np.array([4, 5]), np.array([3, 3]))
        >>> bool(u[1] == uniforms(0, Purpose.RESET, 5, [3], 1)[0, 0])
        True
    """
    counter = np.zeros((len(steps), 4), np.uint32)
    counter[:, 1] = lanes
    counter[:, 2] = np.asarray(steps, np.uint64) & _LOW
    counter[:, 3] = purpose
    words = philox(counter, seed).astype(np.uint64)
    return _doubles(words[:, 0], words[:, 1])


def normals(seed: int, purpose: int, step: int, lanes: Sequence[int], count: int) -> Float64[Array, "L n"]:
    """Draw `count` standard normal numbers for each lane (Box & Muller 1958)."""
    pairs = -(-count // 2)
    u = uniforms(seed, purpose, step, lanes, 2 * pairs)
    radius = np.sqrt(-2.0 * np.log1p(-u[:, 0::2]))
    angle = 2.0 * np.pi * u[:, 1::2]
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)], axis=1)[:, :count]


def permutation(seed: int, purpose: int, step: int, size: int) -> np.ndarray:
    """A permutation of 0 … size−1: the sorting order of `size` random 64-bit numbers."""
    words = random_bits(seed, purpose, step, [0], 2 * size)[0].astype(np.uint64)
    return np.argsort((words[0::2] << _SHIFT) | words[1::2], kind="stable")


def permuted(seed: int, purpose: int, step: int, size: int, places: Int[Array, " n"]) -> Int64[Array, " n"]:
    """The elements of a permutation of 0 … size−1 at some places, computed one by one: nothing is stored.

    A place is a pair (l, r) with l < a, r < b and a·b just above `size`; each round adds to one of the two a hash of
    the other. What comes to lie at `size` or above goes through the rounds again, which happens once in √size times.

    Args:
        seed: as in `random_bits`.
        purpose: likewise.
        step: likewise; another step is another permutation.
        size: of the permutation, at most 2⁶².
        places: from 0 to size−1.

    Example:
        >>> sorted(permuted(0, Purpose.ORDER, 0, 7, np.arange(7)).tolist())
        [0, 1, 2, 3, 4, 5, 6]

    Source: Black & Rogaway (2002), "Ciphers with arbitrary finite domains", methods 2 (cycle walking) and 3
    (generalised Feistel); the hash is the finaliser of SplitMix64 (Steele, Lea & Flood 2014).
    """
    keys = random_bits(seed, purpose, step, [0], 4 * _PAIRS_OF_ROUNDS)[0].astype(np.uint64)
    keys = keys[0::2] << _SHIFT | keys[1::2]
    a = np.uint64(math.isqrt(max(size - 1, 0)) + 1)
    b = np.uint64(-(-size // int(a)))
    found = np.asarray(places, np.uint64).copy()
    todo = np.arange(len(found))
    while len(todo):
        left, right = found[todo] // b, found[todo] % b
        for pair in range(_PAIRS_OF_ROUNDS):
            left = (left + _mixed(right + keys[2 * pair])) % a
            right = (right + _mixed(left + keys[2 * pair + 1])) % b
        found[todo] = left * b + right
        todo = todo[found[todo] >= np.uint64(size)]
    return found.astype(np.int64)


def _mixed(x: UInt64[Array, " n"]) -> UInt64[Array, " n"]:
    """A hash of 62 bits, so that what is added to it does not overflow."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Array = (x ^ (x >> np.uint64(31))) >> np.uint64(2)
    return mixed
