"""How much of the held-out text occurs in the training text: then its loss says little about new text.

A character counts as copied if it is inside a passage of `COPIED_CHARS` characters that occurs in the training part,
or inside a whole document of at least `COPIED_DOCUMENT_CHARS` that does. Every passage is compared by a 64-bit hash:

    h_1(t) = mixed id at t,  h_{a+b}(t) = h_a(t) · M^b + h_b(t + a)  mod 2⁶⁴      (1)  a passage of any length, by doubling

Two different passages among four million have equal hashes with a probability below 10⁻⁶. The last tenth of
tiny Shakespeare, of Anna Karenina and of an Arabic encyclopaedia has no such passage, that of Molière 0.06 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Bool, Int, UInt64
    from numpy import ndarray as Array

COPIED_CHARS = 50
COPIED_DOCUMENT_CHARS = 20
NEW_AFTER = 0.02
"""Share of new characters up to which the rest of a text counts as a repetition of what precedes it."""

_PIECE_CHARS = 4_000_000
_FILTER_BITS = 24
_MULTIPLIER = 0x9E3779B97F4A7C15
_SCRAMBLE = np.uint64(0xBF58476D1CE4E5B9)


@dataclass(frozen=True, slots=True)
class Overlap:
    """What the held-out text shares with the training text.

    Attributes:
        share: held-out characters inside copies, 0 … 1.
        repeats_from: the character of the whole text (training and held-out part) after which nearly everything occurs
            before; None if there is none.
    """

    share: float
    repeats_from: int | None


def overlap(train: Int[Array, "N"], held_out: Int[Array, "M"], *, boundary_id: int | None = None) -> Overlap:
    """Measure the overlap of two parts of one text.

    Four million characters of training text take half a second and 200 MB; those of a repeated text, a few seconds.

    Args:
        train: ids of the training part, (N,).
        held_out: ids of the held-out part, (M,).
        boundary_id: the symbol that begins a document, or None.

    Example:
        >>> text = np.random.default_rng(0).integers(0, 26, 500)
        >>> overlap(text, text[100:300])
        Overlap(share=1.0, repeats_from=495)
    """
    share = copied_share(train, held_out, boundary_id=boundary_id)
    return Overlap(share, _repeats_from(np.concatenate([train, held_out])) if share > NEW_AFTER else None)


def copied_share(
    train: Int[Array, "N"],
    ids: Int[Array, "M"],
    *,
    boundary_id: int | None = None,
    whole_documents: bool = False,
) -> float:
    """The share of a text's characters that are copied from the training text.

    Args:
        train: ids of the training part, (N,).
        ids: the text, (M,), with the same vocabulary.
        boundary_id: the symbol that begins a document, or None.
        whole_documents: only documents count, of any length, instead of passages and long documents.

    Example:
        >>> train = np.random.default_rng(0).integers(0, 10, 500)
        >>> copied_share(train, train[200:300]), copied_share(train, train[300:200:-1])
        (1.0, 0.0)
    """
    ids = np.asarray(ids).astype(train.dtype)
    if whole_documents and boundary_id is not None:
        copied = _in_copied_documents(train, ids, boundary_id, 0)
    else:
        copied = _copied(train, ids)
        if boundary_id is not None:
            copied |= _in_copied_documents(train, ids, boundary_id, COPIED_DOCUMENT_CHARS)
    return float(copied.mean()) if len(copied) else 0.0


def _passage_hashes(ids: Int[Array, "N"]) -> UInt64[Array, "P"]:
    """The hash of the passage that starts at each position, by (1); none for a text shorter than a passage."""
    length, done = COPIED_CHARS, 0
    mixed = (np.asarray(ids).astype(np.uint64) + np.uint64(1)) * _SCRAMBLE
    block = mixed ^ (mixed >> np.uint64(29))
    size, whole = 1, np.zeros(len(ids) + 1, np.uint64)
    while length:
        if length & 1:
            power = np.uint64(pow(_MULTIPLIER, size, 2**64))
            whole = whole[: len(block) - done] * power + block[done:] if done else block
            done += size
        length >>= 1
        if length:
            power = np.uint64(pow(_MULTIPLIER, size, 2**64))
            block = block[: max(0, len(block) - size)] * power + block[size:]
            size *= 2
    return whole


def _covered(starts: Bool[Array, "P"], num_chars: int) -> Bool[Array, "N"]:
    """The characters inside any of the passages that start at the marked positions."""
    depth = np.zeros(num_chars + 1, np.int32)
    begins = np.flatnonzero(starts)
    depth[begins] += 1
    np.subtract.at(depth, begins + COPIED_CHARS, 1)
    return np.asarray(np.cumsum(depth[:-1]) > 0)


def _copied(train: Int[Array, "N"], held_out: Int[Array, "M"]) -> Bool[Array, "M"]:
    if min(len(train), len(held_out)) < COPIED_CHARS:
        return np.zeros(len(held_out), bool)
    wanted = _passage_hashes(held_out)
    shift, possible = np.uint64(64 - _FILTER_BITS), np.zeros(1 << _FILTER_BITS, bool)
    possible[wanted >> shift] = True  # leaves few of the training text's hashes to sort
    starts = np.zeros(len(wanted), bool)
    for first in range(0, len(train) - COPIED_CHARS + 1, _PIECE_CHARS):  # bounds the memory
        known = _passage_hashes(train[first : first + _PIECE_CHARS + COPIED_CHARS - 1])
        # sorted: with the table that it may choose, NumPy 2.0 overflows on 64-bit hashes
        starts |= np.isin(wanted, known[possible[known >> shift]], kind="sort")
    return _covered(starts, len(held_out))


def _in_copied_documents(
    train: Int[Array, "N"], held_out: Int[Array, "M"], boundary_id: int, document_chars: int
) -> Bool[Array, "M"]:
    known = {part.tobytes() for part in _documents(train, boundary_id)}
    copied = [
        np.full(len(part), len(part) > document_chars and part.tobytes() in known)
        for part in _documents(held_out, boundary_id)
    ]
    return np.concatenate(copied) if copied else np.zeros(0, bool)


def _documents(ids: Int[Array, "N"], boundary_id: int) -> list[Int[Array, "D"]]:
    return np.split(np.asarray(ids), np.flatnonzero(np.asarray(ids) == boundary_id))


def _repeats_from(ids: Int[Array, "N"]) -> int | None:
    """The first position from which at most `NEW_AFTER` of the characters are new."""
    if len(ids) < 2 * COPIED_CHARS:
        return None
    hashes = _passage_hashes(ids)
    _, first, same = np.unique(hashes, return_index=True, return_inverse=True)
    new = ~_covered(first[same] < np.arange(len(hashes)), len(ids))
    new_after = np.cumsum(new[::-1])[::-1]
    found = np.flatnonzero(new_after <= NEW_AFTER * np.arange(len(ids), 0, -1))
    return int(found[0]) if len(found) and found[0] < len(ids) - COPIED_CHARS else None
