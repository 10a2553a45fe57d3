"""The corpus: a text as ids, split into training, validation and test, with all that is needed to read it again."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from charloom.config import TextConfig
from charloom.summary import short_fields
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import UInt
    from numpy import ndarray as Array


@dataclass(frozen=True, eq=False)
class Corpus:
    """A text as ids, split, with all that is needed to find it and read it again.

    Attributes:
        name: for run folders and tables.
        vocab: the symbols that the ids stand for.
        config: how the text was read.
        train: ids, (n,), of `vocab.dtype`; a memory map if prepared.
        validation: ids held out; None if nothing is held out.
        test: ids of the ``--test`` file, or None.
        sha256: of the cleaned text as UTF-8, followed by the validation and test files; independent of the encoding.
        num_chars: characters of the cleaned text, breaks between documents included.
        sources: names to read it from again; empty for the built-in text.
        notes: what the user should know.
        encodings: of the text's files, each listed once; empty if it is prepared or was read from memory.
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

    __repr__ = short_fields
