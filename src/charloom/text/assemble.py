"""From readings to the parts of a corpus: gathered, cut, counted, and given one vocabulary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.gather import Part, Symbols, count_symbols, find_cut
from charloom.text.plausible import count_notes
from charloom.text.readings import TEST, TEXT, VALIDATION, Readable
from charloom.text.vocabulary import Vocabulary, build_vocabulary

if TYPE_CHECKING:
    from jaxtyping import UInt
    from numpy import ndarray as Array


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids, split, with what is needed to find and to understand it again.

    Attributes:
        name: for run folders and tables.
        vocab: the symbols behind the ids.
        config: how the text was read.
        train: ids, (n,), of `vocab.dtype`; a memory map if prepared.
        validation: ids held out, none if nothing is.
        test: ids of the ``--test`` file, none without one.
        sha256: of the cleaned text's UTF-8 (the validation and test files' after it), whatever it was encoded in.
        num_chars: characters of the cleaned text, breaks between documents included.
        sources: names that read it again; empty for the built-in text.
        notes: what the user should know.
        encodings: of the text's files, each once; none where it is prepared or stood in memory.
    """

    name: str
    vocab: Vocabulary
    config: TextConfig
    train: UInt[Array, " n"] = field(repr=False)
    validation: UInt[Array, " m"] | None = field(repr=False)
    test: UInt[Array, " k"] | None = field(repr=False)
    sha256: str
    num_chars: int
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    encodings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gathered:
    """All that is known of a corpus before its ids are written.

    Attributes:
        parts: the spooled text and, if given, validation and test files.
        cut: symbols of the text that are for training.
        vocab: of all parts, or of the training part.
        sha256: as `Corpus.sha256`.
        notes: what the user should know.
    """

    parts: Mapping[str, Part]
    cut: int
    vocab: Vocabulary
    sha256: str
    notes: tuple[str, ...]

    @property
    def extents(self) -> dict[str, tuple[str, int, int]]:
        """Name of each part of the corpus → the spool it lies in, its first symbol and the one behind its last."""
        text = self.parts[TEXT]
        extents = {"train": (TEXT, 0, self.cut)}
        if VALIDATION in self.parts:
            extents[VALIDATION] = (VALIDATION, 0, self.parts[VALIDATION].length)
        elif self.cut < text.length:
            extents[VALIDATION] = (TEXT, self.cut, text.length)
        if TEST in self.parts:
            extents[TEST] = (TEST, 0, self.parts[TEST].length)
        return extents


def gather(
    readings: Mapping[str, Sequence[Readable]], config: TextConfig, new_spool: Callable[[], BinaryIO]
) -> Gathered:
    """Read every text once and settle split and vocabulary.

    Args:
        readings: the texts under `TEXT` and, if given, `VALIDATION` and `TEST`.
        config: how to split, count and mark them.
        new_spool: makes an empty file for provisional numbers.

    Raises:
        DataError: a text is empty, too short to be split, or no text.
    """
    symbols, digest = Symbols(), hashlib.sha256()
    parts, notes = {}, []
    for role, texts in readings.items():
        part = Part(symbols, config, new_spool(), digest)
        notes += _fill(part, texts)
        parts[role] = part
    cut = parts[TEXT].length if VALIDATION in parts else find_cut(parts[TEXT])
    _check_length(parts[TEXT], cut)
    everything = count_symbols([(part, part.length) for part in parts.values()])
    counts = count_symbols([(parts[TEXT], cut)]) if config.vocab_from == "train" else everything
    vocab = build_vocabulary(counts, config)
    notes += [] if config.unit == "byte" else count_notes(everything)
    notes += _unk_note(everything, vocab)
    return Gathered(parts, cut, vocab, digest.hexdigest(), tuple(notes))


def _fill(part: Part, texts: Sequence[Readable]) -> list[str]:
    notes = []
    for reading in texts:
        before = part.num_chars
        part.begin_file()
        for piece in reading.pieces():
            part.feed(piece)
            if part.full:
                break
        part.end_file()
        notes += reading.notes
        if part.full:
            break
        if part.num_chars == before:
            notes.append(f"{reading.label} is empty")
    names = ", ".join(reading.label for reading in texts[:3]) + (", …" if len(texts) > 3 else "")
    _check_content(part, names)
    if part.splitter.num_empty:
        notes.append(f"{names}: {part.splitter.num_empty:,} empty documents left out")
    return notes


def _check_content(part: Part, names: str) -> None:
    if part.num_chars == 0:
        raise DataError(
            f"{names} is empty", why="nothing can be learnt from it", fix="name a file that holds text"
        )
    if part.length == 0:
        raise DataError(
            f"{names} holds no document",
            why=f"with --documents {part.config.documents} all of its {part.num_chars:,} characters are breaks",
            fix="use another --documents, or none",
        )


def _check_length(part: Part, cut: int) -> None:
    if cut == 0:
        raise DataError(
            f"the text has {part.num_chars} character{'' if part.num_chars == 1 else 's'}",
            why=f"with val_fraction {part.config.val_fraction} the first ⌊{part.length} × "
            f"{1 - part.config.val_fraction:g}⌋ = 0 are for training",
            fix="give more text, or lower --val-fraction",
        )


def _unk_note(counts: Mapping[int, int], vocab: Vocabulary) -> list[str]:
    if vocab.unk_id is None:
        return []
    known = set(vocab.symbols)
    left_out = {code: count for code, count in counts.items() if code not in known and code < 0x110000}
    if not left_out:
        return []
    times, share = sum(left_out.values()), sum(left_out.values()) / sum(counts.values())
    return [
        f"{len(left_out):,} rare characters ({times:,} occurrences, {share:.2%} of the text) become <unk>"
    ]
