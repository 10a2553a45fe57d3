"""The texts to read for each part of a corpus: the text itself, and validation and test files if given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from charloom.config import TextConfig
from charloom.text.mojibake import mojibake_note
from charloom.text.normalise import clean
from charloom.text.sources import SourceText, find_sources

TEXT, VALIDATION, TEST = "text", "validation", "test"
BUILTIN_NAME = "python-reference"


class TextInput(Protocol):
    """A text that arrives in cleaned pieces, with notes that are complete once it has been read."""

    @property
    def label(self) -> str:
        """Its name in messages."""

    @property
    def notes(self) -> list[str]:
        """What the user should know."""

    def pieces(self) -> Iterator[str]:
        """The cleaned text."""


@dataclass
class StringText:
    """A text in memory, as a `TextInput`."""

    label: str
    text: str
    config: TextConfig
    notes: list[str] = field(default_factory=list)

    def pieces(self) -> Iterator[str]:
        """The cleaned text as a single piece."""
        if note := mojibake_note(self.text):
            self.notes.append(f"{self.label}: {note}")
        yield clean(self.text, self.config)


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
        found, skipped = find_sources(given, stdin=stdin, block_size=block_size)
        notes += skipped
        if found:
            inputs_by_role[role] = [SourceText(source, config) for source in found]
    if TEXT not in inputs_by_role:
        inputs_by_role = {TEXT: [StringText(BUILTIN_NAME, builtin_text(), config)], **inputs_by_role}
    return inputs_by_role, notes


def builtin_text() -> str:
    """The text that ships with every Python: the topics of its language reference, sorted by name.

    It differs between versions of Python, so it is only for trying things out; no figure is quoted for it.
    """
    from pydoc_data.topics import topics

    return "".join(topics[key] for key in sorted(topics))


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
