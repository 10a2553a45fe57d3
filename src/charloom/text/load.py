"""Read a corpus: from files, folders, standard input or a string to ids, in one call."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.catalogue import with_known_corpora
from charloom.text.corpus import Corpus
from charloom.text.encode import Encoded, Part, encode_parts, id_blocks
from charloom.text.inputs import (
    BUILTIN_NAME,
    TEST,
    TEXT,
    VALIDATION,
    StringText,
    absolute,
    builtin_text,
    corpus_name,
    find_inputs,
)
from charloom.text.prepared import is_prepared, open_for
from charloom.text.sources import BLOCK, SourceText, find_sources
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
    """Read texts, or open a prepared file, as a corpus.

    Files are joined in the order given; a newline separates them if the earlier one does not end with one.

    Args:
        sources: files, folders, globs, known corpora and ``-``; none means the built-in text.
        config: how to decode, clean, split and number them.
        val: a text to validate on; all of `sources` is then for training.
        test: a text used only for testing.
        stdin: the stream that ``-`` reads; None means the process's standard input.
        block_size: bytes read at a time.

    Raises:
        DataError: a source is missing, empty, not text, or too short.
        DecodeError: a byte does not fit the encoding.
        DownloadError: a known corpus is not there and there is no network.
    """
    if not sources and val is None and test is None:
        return builtin_corpus(config)
    if any(is_prepared(source) for source in sources):
        return open_for(sources, config, held_out=val if val is not None else test)
    sources, known = with_known_corpora(sources)
    inputs, notes = find_inputs(sources, config, val=val, test=test, stdin=stdin, block_size=block_size)
    encoded = encode_parts(inputs, config, io.BytesIO)
    corpus = _in_memory(encoded, config, corpus_name(sources), absolute(sources), [*known, *notes])
    found = (text.encoding for text in inputs[TEXT] if isinstance(text, SourceText))
    return replace(corpus, encodings=tuple(dict.fromkeys(filter(None, found))))


def corpus_from_text(text: str, config: TextConfig | None = None, *, name: str = "text") -> Corpus:
    """Make a corpus of a text in memory.

    Raises:
        DataError: it is empty, too short to be split, or implausible.

    Example:
        >>> corpus = corpus_from_text("abracadabra" * 10)
        >>> len(corpus.vocab), len(corpus.train), len(corpus.validation)
        (5, 99, 11)
    """
    config = config or TextConfig()
    encoded = encode_parts({TEXT: [StringText(name, text, config)]}, config, io.BytesIO)
    return _in_memory(encoded, config, name, (), [])


def builtin_corpus(config: TextConfig | None = None) -> Corpus:
    """The corpus of the text that ships with every Python, its language reference (see `builtin_text`)."""
    return corpus_from_text(builtin_text(), config, name=BUILTIN_NAME)


def read_text(
    sources: Sequence[str | Path], config: TextConfig, *, stdin: BinaryIO | None = None
) -> tuple[str, tuple[str, ...]]:
    """Read texts as one cleaned string, for scoring rather than training, with the notes on them.

    Raises:
        DataError: a source is missing, empty or not text.
        DecodeError: a byte does not fit the encoding.
    """
    sources, known = with_known_corpora(sources)
    found, notes = find_sources(sources, stdin=stdin)
    notes = [*known, *notes]
    text = ""
    for source in found:
        source_text = SourceText(source, config)
        text += "\n" * bool(text and not text.endswith("\n")) + "".join(source_text.pieces())
        notes += source_text.notes
    if not text:
        why, fix = "there is nothing to score", "pass a file that contains text"
        raise DataError(f"{', '.join(map(str, sources))} is empty", why=why, fix=fix)
    return text[: config.take_chars], tuple(notes)


def _in_memory(
    encoded: Encoded, config: TextConfig, name: str, sources: tuple[str, ...], notes: list[str]
) -> Corpus:
    ids = {role: _ids(part, encoded.vocab) for role, part in encoded.parts.items()}
    split = {name: ids[role][start:stop] for name, (role, start, stop) in encoded.extents.items()}
    return Corpus(
        name=name,
        vocab=encoded.vocab,
        config=config,
        train=split["train"],
        validation=split.get(VALIDATION),
        test=split.get(TEST),
        sha256=encoded.sha256,
        num_chars=encoded.parts[TEXT].num_chars,
        sources=sources,
        notes=(*notes, *encoded.notes),
    )


def _ids(part: Part, vocab: Vocabulary) -> UInt[Array, " n"]:
    ids = np.empty(part.length, vocab.dtype)
    position = 0
    for block in id_blocks(part, vocab):
        ids[position : position + len(block)] = block
        position += len(block)
    return ids
