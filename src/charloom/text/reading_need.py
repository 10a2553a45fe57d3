"""What reading texts takes in memory, from the sizes of their files.

    5 bytes for each byte of a file that a run reads       measured: 4.7 for English, 2.5 for Arabic, 3.8 for raw bytes
    a bounded number for prepare, whatever the size        measured: 30 MB; 40 bytes more for each document that is drawn

The test of this module compares both with measured peaks. A compressed file counts with its own size, since how far it
expands is known only after it is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from charloom.config import TextConfig
from charloom.memory import Need
from charloom.text.stamps import stamp_of

READ_BYTES_PER_BYTE = 5
FIXED, PREPARING = 16_000_000, 64_000_000
MOST_BYTES_PER_CHAR = 4
DRAWN_BYTES_PER_DOCUMENT, FEWEST_DOCUMENT_BYTES = 40, 8

_PREPARE = {
    "texts": "prepare it, which takes little memory for any size: charloom prepare TEXT --out FILE; then name FILE"
}
_SPLIT = {"drawn documents": "set a file aside with --val FILE, instead of drawing documents"}


def reading_need(paths: Iterable[Path | None], config: TextConfig) -> Need:
    """The memory of reading files as a corpus: the ids, and the text on its way to them."""
    size = _size(paths)
    if config.take_chars is not None:
        size = min(size, MOST_BYTES_PER_CHAR * config.take_chars)
    return Need("reading the text", {"texts": READ_BYTES_PER_BYTE * size, "fixed": FIXED}, _PREPARE)


def preparing_need(paths: Sequence[Path | None], config: TextConfig) -> Need:
    """The memory of preparing files: bounded, but for what decides which documents are drawn for validation."""
    draws = config.documents != "none" and (config.split == "random" or config.val_count is not None)
    drawn = DRAWN_BYTES_PER_DOCUMENT * _size(paths) // FEWEST_DOCUMENT_BYTES if draws else 0
    return Need("preparing the text", {"fixed": PREPARING, "drawn documents": drawn}, _SPLIT)


def _size(paths: Iterable[Path | None]) -> int:
    stamps = (stamp_of(path) for path in paths if path is not None)
    return sum(stamp.size for stamp in stamps if stamp is not None)
