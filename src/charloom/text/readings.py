"""What there is to read for each part of a corpus: the text, and validation and test files if given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol

from charloom.config import TextConfig
from charloom.text.clean import clean
from charloom.text.plausible import mojibake_note
from charloom.text.sources import Reading, find_sources

TEXT, VALIDATION, TEST = "text", "validation", "test"
BUILTIN_NAME = "python-reference"


class Readable(Protocol):
    """A text that comes in cleaned pieces, with notes that are complete once it was read."""

    @property
    def label(self) -> str:
        """What messages call it."""

    @property
    def notes(self) -> list[str]:
        """What the user should know."""

    def pieces(self) -> Iterator[str]:
        """The cleaned text."""


@dataclass
class Passage:
    """A text in memory, as a `Readable`."""

    label: str
    text: str
    config: TextConfig
    notes: list[str] = field(default_factory=list)

    def pieces(self) -> Iterator[str]:
        """The cleaned text, in one piece."""
        note = mojibake_note(self.text)
        self.notes += [f"{self.label}: {note}"] if note else []
        yield clean(self.text, self.config)


def find_readings(
    sources: Sequence[str | Path],
    config: TextConfig,
    *,
    val: str | Path | None,
    test: str | Path | None,
    stdin: BinaryIO | None,
    block_size: int,
) -> tuple[dict[str, Sequence[Readable]], list[str]]:
    """The texts of each part, ready to be read, and notes on files that were left out.

    Raises:
        DataError: a source is missing, or a folder holds no text.
    """
    given: dict[str, list[str | Path | None]] = {TEXT: list(sources), VALIDATION: [val], TEST: [test]}
    readings: dict[str, Sequence[Readable]] = {}
    notes: list[str] = []
    for role, names in given.items():
        found, left_out = find_sources(
            [name for name in names if name is not None], stdin=stdin, block_size=block_size
        )
        notes += left_out
        if found:
            readings[role] = [Reading(source, config) for source in found]
    if TEXT not in readings:
        readings = {TEXT: [Passage(BUILTIN_NAME, builtin_text(), config)], **readings}
    return readings, notes


def builtin_text() -> str:
    """The text that every Python carries: the topics of its language reference, in the order of their names.

    It differs between versions of Python, so it is for trying things out and no figure is quoted on it.
    """
    from pydoc_data.topics import topics

    return "".join(topics[key] for key in sorted(topics))


def corpus_name(sources: Sequence[str | Path]) -> str:
    """A short name for a corpus, fit for a folder.

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
    """The same names, valid from any folder."""
    return tuple("-" if str(source) == "-" else str(Path(source).absolute()) for source in sources)
