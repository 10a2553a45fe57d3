"""From cleaned pieces of text to ids, in bounded memory.

    pieces → documents marked → symbols numbered in order of appearance (uint16) → split and vocabulary → ids

The provisional numbers go to a spool (memory or a temporary file), so each text is read and decoded only once. They
are mapped to ids when all symbols are known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.changes import Changes
from charloom.text.documents import Splitter, missing_separator_note
from charloom.text.inputs import TEXT, VALIDATION, TextInput
from charloom.text.mojibake import count_notes, is_notable
from charloom.text.split import find_cut, refuse_split_of, sorted_note
from charloom.text.vocabulary import (
    BOUNDARY_CODE,
    Vocabulary,
    build_vocabulary,
    byte_counts,
    codes_of,
    to_bytes,
)

if TYPE_CHECKING:
    from jaxtyping import Bool, Int32, Int64, UInt16, UInt32
    from numpy import ndarray as Array

_MAX_DISTINCT = 1 << 16  # the range of uint16; no real text has more
_BETWEEN_DOCUMENTS = "\x1e"  # in the hash of documents that are not in files; in ASCII, the record separator
_BLOCK = 1 << 22  # symbols processed at a time


class Symbols:
    """The distinct symbols seen so far, numbered in order of appearance.

    Example:
        >>> symbols = Symbols()
        >>> symbols.number(np.array([98, 97, 98], np.uint32)).tolist()
        [1, 0, 1]
        >>> symbols.codes.tolist()
        [97, 98]
    """

    def __init__(self) -> None:
        self.codes: UInt32[Array, " n"] = np.empty(0, np.uint32)
        self._table = np.full(BOUNDARY_CODE + 1, -1, np.int32)

    def __len__(self) -> int:
        return len(self.codes)

    def number(self, codes: UInt32[Array, " n"]) -> UInt16[Array, " n"]:
        """The number of each code; new codes get the next ones.

        Raises:
            DataError: there are more than 65,536 distinct ones.
        """
        numbers: Int32[Array, " n"] = self._table[codes]
        if (numbers < 0).any():
            new = np.unique(codes[numbers < 0])
            self._table[new] = np.arange(len(self), len(self) + len(new))
            self.codes = np.concatenate([self.codes, new.astype(np.uint32)])
            if len(self) > _MAX_DISTINCT:
                raise DataError(
                    f"the text has more than {_MAX_DISTINCT:,} distinct characters",
                    why="no real text has that many, so this is not text or was decoded with the wrong encoding",
                    fix="give the encoding with --encoding, or use --unit byte",
                )
            numbers = self._table[codes]
        return numbers.astype(np.uint16)


@dataclass
class Part:
    """One part of a corpus (training text, or a validation file), spooled as provisional numbers.

    All parts share `symbols`, the numbering, and `digest`, the hash of the text as UTF-8. `num_chars` counts the
    characters of the cleaned text, breaks between documents included; `length` the symbols, boundaries included.
    `held_out` tells for each document whether it was drawn for validation: such documents come after all others.
    `places` says where each character that deserves a note occurs first, `changes` what cleaning changed.
    """

    symbols: Symbols
    config: TextConfig
    spool: BinaryIO
    digest: hashlib._Hash
    num_chars: int = 0
    length: int = 0
    held_out: Bool[Array, " documents"] | None = None
    places: dict[int, str] = field(default_factory=dict)
    changes: Changes = field(default_factory=Changes)
    splitter: Splitter = field(init=False)
    _ended: bool = True  # whether the last character was a newline, or nothing was read yet
    _label: str = ""
    _line: int = 1  # of the current file; of documents in memory or in a table, the document

    def __post_init__(self) -> None:
        self.splitter = Splitter(self.config.documents, self.config.keep_separator)

    @property
    def full(self) -> bool:
        """Whether `take_chars` characters have been read."""
        return self.config.take_chars is not None and self.num_chars >= self.config.take_chars

    def feed(self, text: str) -> None:
        """Take the next piece of cleaned text."""
        if self.config.take_chars is not None:
            text = text[: max(self.config.take_chars - self.num_chars, 0)]
        if text:
            self._ended = text.endswith("\n")
        for start in range(0, len(text), _BLOCK):
            piece = text[start : start + _BLOCK]
            self._count(piece)
            num_symbols = len(self.symbols)
            self._write(*self.splitter.feed(piece))
            self._note_places(piece, num_symbols, "\n", "line")

    def feed_documents(self, documents: Sequence[str]) -> None:
        """Take whole documents; in the modes that split a text, each is split further."""
        if self.config.documents == "file" and self.config.take_chars is None:
            if not documents:
                return
            joined = _BETWEEN_DOCUMENTS.join(documents)
            self._count(_BETWEEN_DOCUMENTS + joined if self.length else joined)
            num_symbols = len(self.symbols)
            self._write(*self.splitter.feed_whole(documents))
            self._note_places(joined, num_symbols, _BETWEEN_DOCUMENTS, "document")
            self._line += 1
            return
        for document in documents:
            self.begin_file(self._label)
            self.feed(document)
            self.end_file()
            if self.full:
                return

    def end_file(self) -> None:
        """End the current file, and with it the last document."""
        self._write(*self.splitter.feed("", final=True))

    def begin_file(self, label: str) -> None:
        """Begin another file: its first line does not continue the last line of the previous one."""
        if not self._ended:
            self.feed("\n")
        if label != self._label:
            self._label, self._line = label, 1

    def blocks(self) -> Iterator[UInt16[Array, " n"]]:
        """The numbers in blocks: those for training, then those held out."""
        if self.held_out is None:
            yield from self.blocks_in_text_order()
            return
        for wanted in (False, True):
            for block, documents in self.blocks_with_documents():
                yield block[self.held_out[documents] == wanted]

    def blocks_in_text_order(self) -> Iterator[UInt16[Array, " n"]]:
        """The numbers from the start of the text, in blocks."""
        self.spool.seek(0)
        while data := self.spool.read(2 * _BLOCK):
            yield np.frombuffer(data, np.uint16)

    def blocks_with_documents(self) -> Iterator[tuple[UInt16[Array, " n"], Int64[Array, " n"]]]:
        """The numbers in the order of the text, each with the index of its document."""
        last = -1
        for block in self.blocks_in_text_order():
            documents = last + np.cumsum(self.symbols.codes[block] == BOUNDARY_CODE)
            yield block, documents
            last = int(documents[-1])

    def _count(self, piece: str) -> None:
        self.num_chars += len(piece)
        self.digest.update(hashed_bytes(piece, self.config))

    def _note_places(self, piece: str, num_symbols: int, end: str, what: str) -> None:
        """Note where characters that are new in this piece occur first, if they deserve it; count the ends of its lines."""
        if self.config.unit == "char":
            for code in self.symbols.codes[num_symbols:].tolist():
                if code != BOUNDARY_CODE and is_notable(code) and (offset := piece.find(chr(code))) >= 0:
                    number = self._line + piece.count(end, 0, offset)
                    self.places[code] = f"in {what} {number:,} of {self._label}"
        self._line += piece.count(end)

    def _write(self, text: str, starts: Int64[Array, " n"]) -> None:
        codes = codes_of(text, self.config.unit)
        if self.config.unit == "byte":
            starts = np.concatenate([[0], np.cumsum(byte_counts(text))])[starts]
        marked = np.insert(codes, starts, BOUNDARY_CODE) if len(starts) else codes
        self.spool.write(self.symbols.number(marked).tobytes())
        self.length += len(marked)


def hashed_bytes(text: str, config: TextConfig) -> bytes:
    """The bytes of a cleaned text that the hash of a corpus is about: UTF-8, or the file's own."""
    return to_bytes(text) if config.is_raw else text.encode("utf-8", "surrogatepass")


def count_symbols(parts: list[tuple[Part, int]]) -> dict[int, int]:
    """The count of each code in the given number of leading symbols of each part."""
    symbols = parts[0][0].symbols
    counts = np.zeros(len(symbols), np.int64)
    for part, stop in parts:
        position = 0
        for block in part.blocks():
            counts += np.bincount(block[: max(stop - position, 0)], minlength=len(symbols))
            position += len(block)
    return {code: count for code, count in zip(symbols.codes.tolist(), counts.tolist(), strict=True) if count}


def id_blocks(part: Part, vocab: Vocabulary) -> Iterator[Array]:
    """The part's ids in the vocabulary, in blocks."""
    ids = {code: number for number, code in enumerate(vocab.symbols)}
    if vocab.boundary_id is not None:
        ids[BOUNDARY_CODE] = vocab.boundary_id
    id_of_number = [ids.get(code, vocab.unk_id) for code in part.symbols.codes.tolist()]
    assert None not in id_of_number, "the vocabulary built from these symbols lacks one of them"
    table = np.array(id_of_number, vocab.dtype)
    for block in part.blocks():
        yield table[block]


@dataclass(frozen=True)
class Encoded:
    """A corpus before its ids are written; the first `cut` symbols of its text are for training."""

    parts: Mapping[str, Part]
    cut: int
    vocab: Vocabulary
    sha256: str
    notes: tuple[str, ...]

    @property
    def extents(self) -> dict[str, tuple[str, int, int]]:
        """Name of each part of the corpus → the role of its spool, its first symbol and the one after its last."""
        extents = {role: (role, 0, part.length) for role, part in self.parts.items() if role != TEXT}
        if VALIDATION not in extents and self.cut < self.parts[TEXT].length:
            extents = {VALIDATION: (TEXT, self.cut, self.parts[TEXT].length), **extents}
        return {"train": (TEXT, 0, self.cut), **extents}


def encode_parts(
    inputs_by_role: Mapping[str, Sequence[TextInput]], config: TextConfig, new_spool: Callable[[], BinaryIO]
) -> Encoded:
    """Read every text once and determine the split and the vocabulary.

    The texts are under `TEXT` and, if given, `VALIDATION` and `TEST`; `new_spool` opens an empty temporary file.

    Raises:
        DataError: a text is empty, too short to be split, or not text.
    """
    if VALIDATION in inputs_by_role:
        refuse_split_of(config)
    symbols, digest = Symbols(), hashlib.sha256()
    parts: dict[str, Part] = {}
    notes: list[str] = []
    for role, texts in inputs_by_role.items():
        parts[role] = Part(symbols, config, new_spool(), digest)
        notes += _fill(parts[role], texts)
    cut = parts[TEXT].length if VALIDATION in parts else find_cut(parts[TEXT])
    _check_length(parts[TEXT], cut)
    notes += [] if VALIDATION in parts else sorted_note(parts[TEXT], cut)
    everything = count_symbols([(part, part.length) for part in parts.values()])
    counts = count_symbols([(parts[TEXT], cut)]) if config.vocab_from == "train" else everything
    places = {code: place for part in reversed(parts.values()) for code, place in part.places.items()}
    vocab = build_vocabulary(counts, config, places)
    notes += [] if config.unit == "byte" else count_notes(everything, places)
    notes += _unk_note(everything, vocab)
    return Encoded(parts, cut, vocab, digest.hexdigest(), tuple(notes))


def _fill(part: Part, texts: Sequence[TextInput]) -> list[str]:
    notes = []
    for text in texts:
        before = part.num_chars
        part.begin_file(text.label)
        for piece in text.pieces(part.changes):
            if isinstance(piece, str):
                part.feed(piece)
            else:
                part.feed_documents(piece)
            if part.full:
                break
        part.end_file()
        notes += text.notes
        if part.full:
            break
        if part.num_chars == before:
            notes.append(f"{text.label} is empty")
    names = ", ".join(text.label for text in texts[:3]) + (", …" if len(texts) > 3 else "")
    _check_content(part, names)
    if part.splitter.num_empty:
        notes.append(f"{names}: {part.splitter.num_empty:,} empty documents left out")
    if note := missing_separator_note(part.config.documents, part.splitter):
        notes.append(f"{names}: {note}")
    return notes + [f"{names}: {note}" for note in part.changes.notes()]


def _check_content(part: Part, names: str) -> None:
    if part.num_chars == 0:
        why, fix = "nothing can be learnt from it", "pass a file that contains text"
        raise DataError(f"{names} is empty", why=why, fix=fix)
    if part.length == 0:
        raise DataError(
            f"{names} contains no documents",
            why=f"with --documents {part.config.documents} all of its {part.num_chars:,} characters are separators",
            fix="use another --documents, or none",
        )


def _check_length(part: Part, cut: int) -> None:
    if cut == 0:
        raise DataError(
            f"the text has {part.num_chars} character{'s' * (part.num_chars != 1)}",
            why=f"with val_fraction {part.config.val_fraction} the first ⌊{part.length} × "
            f"{1 - part.config.val_fraction:g}⌋ = 0 are for training",
            fix="add text, or lower --val-fraction",
        )


def _unk_note(counts: Mapping[int, int], vocab: Vocabulary) -> list[str]:
    known = {*vocab.symbols, BOUNDARY_CODE}
    rare = [count for code, count in counts.items() if code not in known]
    if vocab.unk_id is None or not rare:
        return []
    times, share = f"{sum(rare):,} occurrences", f"{sum(rare) / sum(counts.values()):.2%} of the text"
    return [f"{len(rare):,} rare characters ({times}, {share}) become <unk>"]
