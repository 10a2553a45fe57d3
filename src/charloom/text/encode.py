"""From cleaned pieces of text to ids, in bounded memory.

    pieces → documents marked → symbols numbered in order of appearance (uint16) → split and vocabulary → ids

The provisional numbers go to a spool (memory or a temporary file), so each text is read and decoded only once. They
are mapped to ids when all symbols are known.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.kernels.sha256 import Sha256
from charloom.kernels.utf8 import count_numbers, ids_of_numbers
from charloom.text.documents import missing_separator_note
from charloom.text.inputs import TEXT, VALIDATION, TextInput
from charloom.text.mojibake import count_notes
from charloom.text.part import Part
from charloom.text.source_text import Reading, SourceText
from charloom.text.split import find_cut, refuse_split_of, sorted_note
from charloom.text.symbols import Symbols
from charloom.text.vocabulary import BOUNDARY_CODE, Vocabulary, build_vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int64
    from numpy import ndarray as Array


def count_symbols(part: Part, stop: int) -> Int64[Array, " symbols"]:
    """How often each of the shared numbers is among the first `stop` symbols of a part."""
    counts = np.zeros(len(part.symbols), np.int64)
    if stop == part.length:
        counts[: len(part.counts)] += part.counts
        return counts
    position = 0
    for block in part.blocks():
        count_numbers(block[: max(stop - position, 0)], counts)
        position += len(block)
        if position >= stop:
            break
    return counts


def id_blocks(part: Part, vocab: Vocabulary) -> Iterator[Array]:
    """The part's ids in the vocabulary, in blocks."""
    ids = {code: number for number, code in enumerate(vocab.symbols)}
    if vocab.boundary_id is not None:
        ids[BOUNDARY_CODE] = vocab.boundary_id
    unused = (
        0 if vocab.unk_id is None else vocab.unk_id
    )  # of a symbol that cleaning replaced wherever it stood
    id_of_number = [ids.get(code, unused) for code in part.symbols.codes.tolist()]
    table = np.array(id_of_number, np.uint32)
    for block in part.blocks():
        yield ids_of_numbers(block, table, vocab.dtype)


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


class Journal(Protocol):
    """Where a reading that may be interrupted writes down how far it has come."""

    def begin(self) -> dict[str, Any] | None:
        """What the interrupted reading wrote down last, if there was one."""

    def note(self, text: Reading, state: Callable[[], dict[str, Any]]) -> None:
        """Called after each segment of a text; writes the state down when it is due."""


class Encoder:
    """Reads every text of a corpus once; what it has read so far can be written down and taken up again.

    Args:
        inputs_by_role: the texts of each part, under `TEXT` and, if given, `VALIDATION` and `TEST`.
        config: how to clean, split and number them.
        new_spool: opens the temporary file of a part, by its role; with what is in it if a reading is taken up.
    """

    def __init__(
        self,
        inputs_by_role: Mapping[str, Sequence[TextInput]],
        config: TextConfig,
        new_spool: Callable[[str], BinaryIO],
    ) -> None:
        if VALIDATION in inputs_by_role:
            refuse_split_of(config)
        self._inputs, self._config, self._new_spool = inputs_by_role, config, new_spool
        self._symbols, self._digest = Symbols(), Sha256()
        self._parts: dict[str, Part] = {}
        self._notes: list[str] = []
        self._at: tuple[str, int, int] = (
            "",
            0,
            0,
        )  # the role, the number of its text, characters before this text

    def read(self, journal: Journal | None = None) -> None:
        """Read all texts.

        Raises:
            DataError: a text is empty or not text, or has changed since it was read (`OutdatedError`).
        """
        state = journal.begin() if journal is not None else None
        if state is not None:
            self._restore(state)
        roles = list(self._inputs)
        for role in roles[roles.index(self._at[0]) if state is not None else 0 :]:
            self._read_part(role, journal, taken_up=state is not None and role == self._at[0])

    def finish(self) -> Encoded:
        """Determine the split and the vocabulary.

        Raises:
            DataError: a text is too short to be split, or seems to have been decoded wrongly.
        """
        parts, config, notes = self._parts, self._config, self._notes
        cut = parts[TEXT].length if VALIDATION in parts else find_cut(parts[TEXT])
        _check_length(parts[TEXT], cut)
        notes += [] if VALIDATION in parts else sorted_note(parts[TEXT], cut)
        everything = self._by_code(sum(count_symbols(part, part.length) for part in parts.values()))
        of_train = config.vocab_from == "train"
        counts = self._by_code(count_symbols(parts[TEXT], cut)) if of_train else everything
        places = {
            code: place for part in reversed(parts.values()) for code, place in part.places.first.items()
        }
        vocab = build_vocabulary(counts, config, places)
        notes += [] if config.unit == "byte" else count_notes(everything, places)
        notes += _unk_note(everything, vocab)
        return Encoded(parts, cut, vocab, self._digest.hexdigest(), tuple(notes))

    def _by_code(self, counts: Any) -> dict[int, int]:
        codes = self._symbols.codes.tolist()
        return {code: count for code, count in zip(codes, counts.tolist(), strict=True) if count}

    def _read_part(self, role: str, journal: Journal | None, *, taken_up: bool) -> None:
        texts = self._inputs[role]
        if not taken_up:
            self._parts[role] = Part(self._symbols, self._config, self._new_spool(role), self._digest)
        part, first = self._parts[role], self._at[1] if taken_up else 0
        for number, text in enumerate(texts[first:], first):
            if not (taken_up and number == first):
                self._at = role, number, part.num_chars
                part.begin_file(text.label)
            self._read_text(part, text, journal)
            part.end_file()
            self._notes += text.notes
            if part.full:
                break
            if part.num_chars == self._at[2]:
                self._notes.append(f"{text.label} is empty")
        self._notes += _part_notes(part, texts)

    def _read_text(self, part: Part, text: TextInput, journal: Journal | None) -> None:
        if not isinstance(text, SourceText):
            for piece in text.pieces(part.changes):
                part.feed(piece) if isinstance(piece, str) else part.feed_documents(piece)
                if part.full:
                    return
            return
        with contextlib.closing(text.segments()) as segments:
            for segment in segments:
                try:
                    part.feed_utf8(segment.data)
                except UnicodeDecodeError as error:
                    raise text.invalid_utf8(error, segment) from error
                if part.full:
                    return
                if journal is not None:
                    journal.note(text, lambda: self._state(text))

    def _state(self, text: SourceText) -> dict[str, Any]:
        """What has been read, as JSON; the numbers are in the spools."""
        return {
            "at": list(self._at),
            "text": text.state(),
            "notes": self._notes,
            "symbols": self._symbols.codes.tolist(),
            "digest": self._digest.state(),
            "parts": {role: part.state() for role, part in self._parts.items()},
            "finished": [[text.num_bytes, text.crc, text.ended] for text in self._before(*self._at[:2])],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        role, number, before = state["at"]
        self._at, self._notes = (role, number, before), list(state["notes"])
        self._symbols.add(state["symbols"])
        self._digest = Sha256(state["digest"])
        for name, part_state in state["parts"].items():
            self._parts[name] = Part(self._symbols, self._config, self._new_spool(name), self._digest)
            self._parts[name].restore(part_state)
        for text, (num_bytes, crc, ended) in zip(self._before(role, number), state["finished"], strict=True):
            text.num_bytes, text.crc, text.ended = num_bytes, crc, ended
        at = self._inputs[role][number]
        assert isinstance(at, SourceText)
        at.restore(state["text"])

    def _before(self, role: str, number: int) -> list[Reading]:
        """The sources that are read before one of a part."""
        roles = list(self._inputs)
        texts = [text for name in roles[: roles.index(role)] for text in self._inputs[name]]
        return [text for text in [*texts, *self._inputs[role][:number]] if isinstance(text, Reading)]


def encode_parts(
    inputs_by_role: Mapping[str, Sequence[TextInput]],
    config: TextConfig,
    new_spool: Callable[[str], BinaryIO],
    journal: Journal | None = None,
) -> Encoded:
    """Read every text once and determine the split and the vocabulary; arguments as of `Encoder`.

    Raises:
        DataError: a text is empty, too short to be split, or not text.
    """
    encoder = Encoder(inputs_by_role, config, new_spool)
    encoder.read(journal)
    return encoder.finish()


def _part_notes(part: Part, texts: Sequence[TextInput]) -> list[str]:
    """Notes on a part that has been read to its end.

    Raises:
        DataError: there is nothing in it.
    """
    names = ", ".join(text.label for text in texts[:3]) + (", …" if len(texts) > 3 else "")
    _check_content(part, names)
    notes = []
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
