"""Read a corpus: from files, folders, standard input or a string to ids, in one call."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from charloom.config import TextConfig
from charloom.errors import DataError
from charloom.text.catalogue import with_known_corpora
from charloom.text.changes import Changes
from charloom.text.corpus import Corpus
from charloom.text.encode import Encoded, encode_parts, id_blocks
from charloom.text.inputs import (
    BUILTIN_NAME,
    TEST,
    TEXT,
    VALIDATION,
    TableText,
    TextInput,
    absolute,
    builtin_text,
    corpus_name,
    find_inputs,
    is_documents,
    memory_input,
    source_input,
)
from charloom.text.part import Part
from charloom.text.prepared import is_prepared, open_for
from charloom.text.reading_need import reading_need
from charloom.text.source_text import SourceText
from charloom.text.sources import BLOCK, find_sources
from charloom.text.tables import table_format
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
        OutOfMemoryError: the files are larger than the memory that is free.
        DownloadError: a known corpus is not there and there is no network.
    """
    if not sources and val is None and test is None:
        return builtin_corpus(config)
    if any(is_prepared(source) for source in sources):
        return open_for(sources, config, held_out=val if val is not None else test)
    sources, known = with_known_corpora(sources)
    inputs, notes = find_inputs(sources, config, val=val, test=test, stdin=stdin, block_size=block_size)
    readings = [
        text for texts in inputs.values() for text in texts if isinstance(text, SourceText | TableText)
    ]
    reading_need((text.source.path for text in readings), config).check()
    encoded = encode_parts(inputs, config, lambda _: io.BytesIO())
    corpus = _in_memory(encoded, config, corpus_name(sources), absolute(sources), [*known, *notes])
    found = (text.encoding for text in inputs[TEXT] if isinstance(text, SourceText | TableText))
    return replace(corpus, encodings=tuple(dict.fromkeys(filter(None, found))))


def corpus_from_text(
    text: str | bytes | Iterable[str],
    config: TextConfig | None = None,
    *,
    name: str = "text",
    val: str | Path | None = None,
    test: str | Path | None = None,
) -> Corpus:
    """Make a corpus of a text in memory.

    Args:
        text: a str, bytes, an open file, or an iterable of documents.
        config: how to clean, split and number it; None = the defaults, with each item of an iterable a document.
        name: of the corpus.
        val: a file to validate on, and
        test: one for testing, as in `read_corpus`.

    Raises:
        DataError: it is empty, too short to be split, implausible, or not text.

    Example:
        >>> corpus = corpus_from_text("abracadabra" * 10)
        >>> len(corpus.vocab), len(corpus.train), len(corpus.validation)
        (5, 99, 11)
        >>> corpus = corpus_from_text(name for name in ["anna", "bo"])
        >>> corpus.vocab.decode(corpus.train, boundary="|")
        '|anna'
    """
    config = config or TextConfig(documents="file" if is_documents(text) else "none")
    inputs: dict[str, Sequence[TextInput]] = {TEXT: [memory_input(text, config, label=name)]}
    notes: list[str] = []
    if val is not None or test is not None:
        found, notes = find_inputs([], config, val=val, test=test, stdin=None, block_size=BLOCK)
        inputs |= {role: found[role] for role in (VALIDATION, TEST) if role in found}
    return _in_memory(encode_parts(inputs, config, lambda _: io.BytesIO()), config, name, (), notes)


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
    texts, notes = read_texts(sources, config, stdin=stdin)
    text = (
        "".join(f"{text}\n" if text and not text.endswith("\n") else text for text in texts[:-1]) + texts[-1]
    )
    return text[: config.take_chars], notes


def read_texts(
    sources: Sequence[str | Path], config: TextConfig, *, stdin: BinaryIO | None = None
) -> tuple[list[str], tuple[str, ...]]:
    """Read texts as cleaned strings, one for each file, or for each row of a table if `config` names a column.

    A file that is not a table is read as a text in any case: a model that learnt from a table can score one.

    Raises:
        DataError: a source is missing, empty or not text.
        DecodeError: a byte does not fit the encoding.
    """
    sources, known = with_known_corpora(sources)
    found, notes = find_sources(sources, stdin=stdin)
    notes, changes, texts = [*known, *notes], Changes(), list[str]()
    for source in found:
        is_table = config.column is not None and table_format(source.name) is not None
        text = source_input(source, config) if is_table else SourceText(source, config)
        pieces = list(text.pieces(changes))
        texts += itertools.chain(*(p for p in pieces if not isinstance(p, str)))  # the rows of a table
        texts += ["".join(p for p in pieces if isinstance(p, str))] * (not is_table)
        notes += text.notes
    notes += changes.notes()
    if not any(texts):
        why, fix = "there is nothing to score", "pass a file that contains text"
        raise DataError(f"{', '.join(map(str, sources))} is empty", why=why, fix=fix)
    return texts, tuple(notes)


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
