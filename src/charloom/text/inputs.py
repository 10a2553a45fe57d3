"""The texts to read for each part of a corpus: the text itself, and validation and test files if given."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.changes import Changes
from charloom.text.decode import decode_bytes, raw_pieces
from charloom.text.mojibake import mojibake_note
from charloom.text.normalise import Cleaner
from charloom.text.sources import Reading, Source, SourceText, find_sources
from charloom.text.tables import cells_of_parquet, cells_of_text, is_missing, table_format

TEXT, VALIDATION, TEST = "text", "validation", "test"
BUILTIN_NAME = "python-reference"
_BATCH = 4096  # documents handed on at a time


class TextInput(Protocol):
    """A text that arrives in cleaned pieces, with notes that are complete once it has been read."""

    @property
    def label(self) -> str:
        """Its name in messages."""

    @property
    def notes(self) -> list[str]:
        """What the user should know."""

    def pieces(self, changes: Changes) -> Iterator[str | list[str]]:
        """The cleaned text: pieces of one document or stream, or lists of whole documents; `changes` counts."""


@dataclass
class StringText:
    """A text in memory, as a `TextInput`."""

    label: str
    text: str
    config: TextConfig
    notes: list[str] = field(default_factory=list)

    def pieces(self, changes: Changes) -> Iterator[str]:
        """The cleaned text as a single piece."""
        if not self.config.is_raw and (note := mojibake_note(self.text)):
            self.notes.append(f"{self.label}: {note}")
        yield Cleaner(self.config, changes).feed(self.text, final=True)


@dataclass
class DocumentTexts:
    """Documents in memory, from any iterable, as a `TextInput`; None and NaN are missing documents."""

    label: str
    documents: Iterable[object]
    config: TextConfig
    notes: list[str] = field(default_factory=list)

    def pieces(self, changes: Changes) -> Iterator[list[str]]:
        """The documents, cleaned, in batches.

        Raises:
            DataError: one of them is not a text.
        """
        texts = (_document(number, value) for number, value in enumerate(self.documents))
        yield from _batches(texts, self.config, changes, self.notes, f"{self.label}: ")


@dataclass
class TableText(Reading):
    """A column of a table, each row a document, as a `TextInput`."""

    @property
    def label(self) -> str:
        """Its name in messages."""
        return f"{self.source.name} (column {self.config.column})"

    def pieces(self, changes: Changes) -> Iterator[list[str]]:
        """The documents, cleaned, in batches.

        Raises:
            DataError: it is not a table, or has no such column.
            MissingExtraError: it is a Parquet file and there is no package to read it.
        """
        with contextlib.closing(self.source):
            yield from _batches(self._cells(), self.config, changes, self.notes, f"{self.label}: ")

    def _cells(self) -> Iterator[str | None]:
        name, column = self.source.name, self.config.column
        assert column is not None
        kind = table_format(name, self.source.head(1 << 10) if self.source.spool is not None else b"")
        if kind is None:
            raise DataError(
                f"{name} has no columns",
                why="--column is for tables: .csv, .tsv, .jsonl, .json and .parquet files",
                fix="omit --column, or name a table",
            )
        if kind == "parquet":
            with tempfile.TemporaryFile() as handle:  # it is read from its end, and may be compressed
                for block in self.source.blocks():
                    handle.write(block)
                    self.num_bytes += len(block)
                yield from cells_of_parquet(handle, column, name)
            return
        text = SourceText(self.source, self.config, notes=self.notes)
        for cell in cells_of_text(text.decoded(), kind, column, name):
            self.num_bytes, self.encoding = text.num_bytes, text.encoding
            yield cell


def _batches(
    texts: Iterable[str | None], config: TextConfig, changes: Changes, notes: list[str], where: str
) -> Iterator[list[str]]:
    """The documents of an input in lists, without missing and empty ones, which a note counts."""
    cleaner, batch = Cleaner(config, changes), list[str]()
    counts = {"missing": 0, "empty": 0}
    for text in texts:
        if not text:
            counts["missing" if text is None else "empty"] += 1
            continue
        batch.append(cleaner.feed(text, final=True))
        if len(batch) == _BATCH:
            yield batch
            batch = []
    yield batch
    for kind, count in counts.items():
        notes += [f"{where}{count:,} {kind} row{'s' * (count > 1)} left out"] * (count > 0)


def _document(number: int, value: object) -> str | None:
    if is_missing(value):
        return None
    if isinstance(value, str):
        return value
    raise DataError(
        f"document {number} is {value!r:.60}, of type {type(value).__name__}",
        why="a document is a str",
        fix="pass the text of each document, for example text=[row['text'] for row in rows]",
    )


def is_documents(text: object) -> bool:
    """Whether a text in memory is a collection of documents and not one text.

    Example:
        >>> is_documents(["anna", "bo"]), is_documents("anna")
        (True, False)
    """
    return not isinstance(text, str | bytes | bytearray | Path) and not hasattr(text, "read")


def memory_input(text: object, config: TextConfig, *, label: str) -> StringText | DocumentTexts:
    """A text in memory as an input: a str, bytes, an open file, or an iterable of documents.

    Raises:
        DataError: it is something else, such as a path or a table.
        DecodeError: its bytes do not fit the encoding.
    """
    if callable(read := getattr(text, "read", None)):
        text = read()
    if isinstance(text, bytes | bytearray):
        data = bytes(text)
        if config.is_raw:
            return StringText(label, "".join(raw_pieces([data])), config)
        decoded = decode_bytes(data, encoding=config.encoding, source=label)
        return StringText(label, decoded.text, config, list(decoded.notes))
    if isinstance(text, str):
        return StringText(label, text, config)
    if hasattr(text, "iloc") and hasattr(text, "columns"):
        fix = "pass one column, for example text=frame['text']"
        raise _no_text(text, "a table has several columns", fix)
    if isinstance(text, Path):
        raise _no_text(text, "text= takes the text itself", "pass the path without text=")
    if isinstance(text, Mapping) or not isinstance(text, Iterable):
        raise _no_text(text, "it is not text", "pass a str, or a list or generator of str")
    return DocumentTexts(label, text, config)


def _no_text(text: object, why: str, fix: str) -> DataError:
    shown = " ".join(repr(text).split())
    return DataError(f"text is {shown:.60}, of type {type(text).__name__}", why=why, fix=fix)


def find_inputs(
    sources: Sequence[str | Path],
    config: TextConfig,
    *,
    val: str | Path | None,
    test: str | Path | None,
    stdin: BinaryIO | None,
    block_size: int,
) -> tuple[dict[str, Sequence[TextInput]], list[str]]:
    """The texts of each part, ready to be read, and notes on skipped files.

    Raises:
        DataError: a source is missing, or a folder contains no text.
    """
    inputs_by_role: dict[str, Sequence[TextInput]] = {}
    notes: list[str] = []
    for role, names in ((TEXT, sources), (VALIDATION, [val]), (TEST, [test])):
        given = [name for name in names if name is not None]
        tables = config.column is not None
        found, skipped = find_sources(given, stdin=stdin, block_size=block_size, tables=tables)
        notes += skipped
        if found:
            inputs_by_role[role] = [source_input(source, config) for source in found]
        if found and not tables and all(table_format(source.name) is not None for source in found):
            notes.append(f"{found[0].name} is read as plain text; --column NAME reads one column of it")
    if TEXT not in inputs_by_role:
        inputs_by_role = {TEXT: [StringText(BUILTIN_NAME, builtin_text(), config)], **inputs_by_role}
    return inputs_by_role, notes


def source_input(source: Source, config: TextConfig) -> SourceText | TableText:
    """A source as an input: the column of a table, or all of its text."""
    return SourceText(source, config) if config.column is None else TableText(source, config)


def builtin_text() -> str:
    """The text that ships with every Python: the topics of its language reference, sorted by name.

    Many topics hold the same paragraphs; each paragraph is taken once, because copies in the held-out part would measure
    memory. The text differs between versions of Python, so it is only for trying things out; no figure is quoted for it.
    """
    from pydoc_data.topics import topics

    paragraphs = (part for key in sorted(topics) for part in topics[key].strip("\n").split("\n\n"))
    return "\n\n".join(dict.fromkeys(paragraphs)) + "\n"


def corpus_name(sources: Sequence[str | Path]) -> str:
    """A short name for a corpus, safe as a folder name.

    Example:
        >>> corpus_name(["texts/tales.txt.xz", "more.txt"]), corpus_name(["-"]), corpus_name([])
        ('tales+1', 'stdin', 'python-reference')
    """
    if not sources:
        return BUILTIN_NAME
    first = "stdin" if str(sources[0]) == "-" else Path(sources[0]).resolve().name.lstrip(".").split(".")[0]
    kept = "".join(char if char.isalnum() or char in "-_" else "-" for char in first).strip("-") or "text"
    return kept if len(sources) == 1 else f"{kept}+{len(sources) - 1}"


def absolute(sources: Sequence[str | Path]) -> tuple[str, ...]:
    """The same names as absolute paths."""
    return tuple("-" if str(source) == "-" else str(Path(source).absolute()) for source in sources)
