"""The split: which part of a text is held out for validation.

    contiguous   the last characters, or the last documents
    random       documents drawn by `split_seed`; both parts keep them in the order of the text

A fraction counts characters, in either case; `val_count` counts documents.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import TextConfig
from charloom.errors import ConfigError, DataError
from charloom.rng import Purpose, permutation
from charloom.text.vocabulary import BOUNDARY_CODE

if TYPE_CHECKING:
    from jaxtyping import Bool, Int64, UInt16, UInt32
    from numpy import ndarray as Array

    from charloom.text.part import Part

_SORTED_SHARE = 0.8
"""Neighbours in order, as a share of all that differ, from which a list counts as sorted: by chance it is a half."""

_FEWEST_PAIRS = 20
_SAMPLES = 16
_MOST_READ = 1 << 24
_KEY_CHARS = 12


def begins_char(codes: UInt32[Array, " n"]) -> Bool[Array, " n"]:
    """Which bytes begin a character of UTF-8 (boundaries do too)."""
    return (codes < 0x80) | (codes >= 0xC0)


def units_of(codes: UInt32[Array, " n"], unit: str) -> Bool[Array, " n"]:
    """Which symbols count as characters: all but the later bytes of a character in UTF-8."""
    return begins_char(codes) if unit == "byte" else np.ones(len(codes), bool)


def floor_share(count: int, fraction: float) -> int:
    """⌊count × fraction⌋ without the rounding error of floating point: 1 − 0.9 is a tenth, not slightly less.

    Example:
        >>> floor_share(10, 1 - 0.9), int(10 * (1 - 0.9))
        (1, 0)
    """
    return int(round(count * fraction, 6))


def find_cut(part: Part) -> int:
    """The start of the validation part, after the first ``1 − val_fraction`` of the characters (and boundaries).

    With unit byte, the cut is at the first byte of a character. With documents, it moves to the start of the next
    document, or back to the start of the last one if no document follows.

    A random split marks the documents that it draws in ``part.held_out``, which moves them behind all others.

    Returns:
        An index into the part's symbols; their number if nothing is held out.

    Raises:
        DataError: there is only one document, or no more than `val_count`.
    """
    config = part.config
    fraction, documents, as_bytes = config.val_fraction, config.documents != "none", config.unit == "byte"
    if config.val_count is None and fraction == 0.0:
        return part.length
    if config.val_count is not None or config.split == "random":
        return _hold_out_documents(part)
    if not as_bytes and not documents:
        return floor_share(part.length, 1 - fraction)
    codes = part.symbols.codes
    is_unit = units_of(codes, config.unit)
    is_allowed = codes == BOUNDARY_CODE if documents else is_unit
    units = int(part.counts[is_unit[: len(part.counts)]].sum())
    index = max(floor_share(units, 1 - fraction), int(documents))  # the first document is always for training
    position = 0 if as_bytes else index  # a character is one symbol: those before need not be read
    index -= position
    for block in part.blocks_in_text_order(position):
        is_unit_here = is_unit[block]
        units = int(np.count_nonzero(is_unit_here))
        if units > index:
            allowed = np.flatnonzero(is_allowed[block])
            after = allowed[np.cumsum(is_unit_here)[allowed] - 1 >= index]
            if len(after):
                return position + int(after[0])
        index -= units
        position += len(block)
    return _last_place(part, is_allowed)


def _last_place(part: Part, is_allowed: Bool[Array, " symbols"]) -> int:
    """The index of the last symbol of which `is_allowed` is true."""
    last, position = 0, 0
    for block in part.blocks_in_text_order():
        places = np.flatnonzero(is_allowed[block])
        last = position + int(places[-1]) if len(places) else last
        position += len(block)
    if last == 0:
        raise _single_document()
    return last


def _hold_out_documents(part: Part) -> int:
    """The cut of a split by whole documents; a random one is marked in ``part.held_out``."""
    config, (chars, symbols) = part.config, _document_sizes(part)
    num = len(symbols)
    if num < 2:
        raise _single_document()
    if config.val_count is not None and config.val_count >= num:
        raise DataError(
            f"val_count is {config.val_count:,} and the text has {num:,} documents",
            why="at least one document must remain for training",
            fix=f"lower --val-count, to {max(1, num // 10):,} for example",
        )
    drawn = config.split == "random"
    order = permutation(config.split_seed, Purpose.SPLIT, 0, num) if drawn else np.arange(num)[::-1]
    if config.val_count is not None:
        count = config.val_count
    else:
        target = int(chars.sum()) - floor_share(int(chars.sum()), 1 - config.val_fraction)
        count = min(int(np.searchsorted(np.cumsum(chars[order]), target)) + 1, num - 1)
    held_out = np.zeros(num, bool)
    held_out[order[:count]] = True
    if drawn:
        part.held_out = held_out
    return int(symbols[~held_out].sum())


def _document_sizes(part: Part) -> tuple[Int64[Array, " n"], Int64[Array, " n"]]:
    """Characters, and symbols, of each document; its boundary counts."""
    chars, symbols = (np.zeros(part.splitter.num_documents, np.int64) for _ in range(2))
    for block, documents in part.blocks_with_documents():
        units = units_of(part.symbols.codes[block], part.config.unit)
        symbols += np.bincount(documents, minlength=len(symbols))
        chars += np.bincount(documents[units], minlength=len(chars))
    return chars, symbols


def _single_document() -> DataError:
    return DataError(
        "the text is a single document",
        why="documents are never cut, so none can be held out of 1",
        fix="add documents, or pass another --documents, a --val FILE or --val-fraction 0",
    )


def refuse_split_of(config: TextConfig) -> None:
    """Refuse settings of the split for a text whose validation part is a file.

    Raises:
        ConfigError: the split is random or `val_count` is set.
    """
    for name, used in (
        ("split random", config.split == "random"),
        ("val_count", config.val_count is not None),
    ):
        if used:
            raise ConfigError(
                f"{name} and a validation file are both given",
                why="the file is what is held out, and all of the text is for training",
                fix=f"omit --{name.replace('_', '-')}, or --val",
            )


def sorted_note(part: Part, cut: int) -> list[str]:
    """A note if documents are sorted and the last of them are held out, which are then unlike the rest."""
    config = part.config
    if config.documents == "none" or config.split == "random" or cut == part.length or not _is_sorted(part):
        return []
    return [
        "the documents are sorted, and the last ones are held out, which may be unlike the others; "
        "--split random draws them from the whole list"
    ]


def _is_sorted(part: Part) -> bool:
    """Whether most documents that differ from the one before come after it, or most before, in code-point order.

    Of more than `_MOST_READ` symbols, only the blocks at `_SAMPLES` places are read.
    """
    rises = falls = 0
    is_boundary = part.symbols.codes == BOUNDARY_CODE
    for block in _sampled_blocks(part):
        starts = np.flatnonzero(is_boundary[block])
        keys = _keys(part.symbols.codes, block, starts)
        differs = keys[1:] != keys[:-1]
        pair, first = (
            np.arange(len(differs)),
            differs.argmax(axis=1) if len(differs) else np.empty(0, np.int64),
        )
        before, after = keys[:-1][pair, first], keys[1:][pair, first]
        rises, falls = rises + int((before < after).sum()), falls + int((before > after).sum())
    return max(rises, falls) >= max(_SORTED_SHARE * (rises + falls), _FEWEST_PAIRS)


def _sampled_blocks(part: Part) -> Iterator[UInt16[Array, " n"]]:
    """All blocks of a short text, some of a long one."""
    if part.length <= _MOST_READ:
        yield from part.blocks_in_text_order()
        return
    for start in range(0, part.length, -(-part.length // _SAMPLES)):
        yield next(part.blocks_in_text_order(start))


def _keys(
    codes: UInt32[Array, " symbols"], block: UInt16[Array, " n"], starts: Int64[Array, " d"]
) -> UInt32[Array, "e K"]:
    """The first characters of each document but the last, which the block may cut; 0 after its end."""
    places = starts[:-1, None] + 1 + np.arange(_KEY_CHARS)
    inside = places < starts[1:, None]
    return np.where(inside, codes[block[np.minimum(places, len(block) - 1)]], 0).astype(np.uint32)
