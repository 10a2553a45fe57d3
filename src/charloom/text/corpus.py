"""The corpus: texts → ids, split into training, validation and test; bytes → ids in one call."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.assemble import Corpus as Corpus
from charloom.text.assemble import Gathered, gather
from charloom.text.gather import Part, id_blocks
from charloom.text.prepared import is_prepared, open_for
from charloom.text.readings import (
    BUILTIN_NAME,
    TEST,
    TEXT,
    VALIDATION,
    Passage,
    absolute,
    builtin_text,
    corpus_name,
    find_readings,
)
from charloom.text.sources import BLOCK, Reading, find_sources
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import UInt
    from numpy import ndarray as Array


def read_corpus(
    sources: Sequence[str | Path],
    config: TextConfig,
    *,
    val: str | Path | None = None,
    test: str | Path | None = None,
    stdin: BinaryIO | None = None,
    block_size: int = BLOCK,
) -> Corpus:
    """Read texts, or open the one prepared file, as a corpus.

    Files follow one another in the order given; where one does not end with a newline, one is put between.

    Args:
        sources: files, folders, globs and ``-``; none means the built-in text.
        config: how to decode, clean, split and number them.
        val: a text to validate on; then all of `sources` is for training.
        test: a text that is only ever tested on.
        stdin: what ``-`` reads; the process's standard input if none.
        block_size: bytes read at a time.

    Raises:
        DataError: a source is missing, empty, no text, or too short.
        DecodeError: a byte does not fit the encoding.
    """
    if not sources and val is None and test is None:
        return builtin_corpus(config)
    if any(is_prepared(source) for source in sources):
        return open_for(sources, config, held_out=val if val is not None else test)
    readings, notes = find_readings(sources, config, val=val, test=test, stdin=stdin, block_size=block_size)
    gathered = gather(readings, config, io.BytesIO)
    corpus = _in_memory(gathered, config, corpus_name(sources), absolute(sources), notes)
    found = (reading.encoding for reading in readings[TEXT] if isinstance(reading, Reading))
    return replace(corpus, encodings=tuple(dict.fromkeys(filter(None, found))))


def corpus_from_text(text: str, config: TextConfig | None = None, *, name: str = "text") -> Corpus:
    """A corpus of a text in memory.

    Raises:
        DataError: it is empty, too short to be split, or implausible.

    Example:
        >>> corpus = corpus_from_text("abracadabra" * 10)
        >>> len(corpus.vocab), len(corpus.train), len(corpus.validation)
        (5, 99, 11)
    """
    config = config or TextConfig()
    gathered = gather({TEXT: [Passage(name, text, config)]}, config, io.BytesIO)
    return _in_memory(gathered, config, name, (), [])


def builtin_corpus(config: TextConfig | None = None) -> Corpus:
    """The corpus of the one text that every Python carries, its language reference (see `builtin_text`)."""
    return corpus_from_text(builtin_text(), config, name=BUILTIN_NAME)


def read_text(
    sources: Sequence[str | Path], config: TextConfig, *, stdin: BinaryIO | None = None
) -> tuple[str, tuple[str, ...]]:
    """Read texts as one cleaned string, for scoring rather than training, with the notes on them.

    Raises:
        DataError: a source is missing, empty or no text.
        DecodeError: a byte does not fit the encoding.
    """
    found, notes = find_sources(sources, stdin=stdin)
    text = ""
    for source in found:
        reading = Reading(source, config)
        text += "\n" * bool(text and not text.endswith("\n")) + "".join(reading.pieces())
        notes += reading.notes
    if not text:
        names = ", ".join(map(str, sources))
        raise DataError(
            f"{names} is empty", why="there is nothing to score", fix="name a file that holds text"
        )
    return text[: config.take_chars], tuple(notes)


def _in_memory(
    gathered: Gathered, config: TextConfig, name: str, sources: tuple[str, ...], notes: list[str]
) -> Corpus:
    ids = {role: _ids(part, gathered.vocab) for role, part in gathered.parts.items()}
    split = {name: ids[role][start:stop] for name, (role, start, stop) in gathered.extents.items()}
    return Corpus(
        name=name,
        vocab=gathered.vocab,
        config=config,
        train=split["train"],
        validation=split.get(VALIDATION),
        test=split.get(TEST),
        sha256=gathered.sha256,
        num_chars=gathered.parts[TEXT].num_chars,
        sources=sources,
        notes=(*notes, *gathered.notes),
    )


def _ids(part: Part, vocab: Vocabulary) -> UInt[Array, " n"]:
    ids = np.empty(part.length, vocab.dtype)
    position = 0
    for block in id_blocks(part, vocab):
        ids[position : position + len(block)] = block
        position += len(block)
    return ids
