"""Text that a teacher writes for its student to train on, in passages from an empty prompt at temperature 1.

A network nearly memorises a small text, and so does its teacher, whose probabilities then say little more than the text
itself. In text that it writes, every character is new, and its probabilities are those that it expects of any text.

Source: Kim & Rush (2016), "Sequence-level knowledge distillation", where the teacher's text is its likeliest; here it is
drawn from its probabilities.

The draws of a passage follow from its number, so a call that was stopped can be continued after any batch of passages.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import EngineModel, SamplingParams
from charloom.generation.decoding import new_sampler
from charloom.generation.prefill import prefill_batch, with_bos
from charloom.generation.sample_text import unwritable_ids
from charloom.steps import mapped
from charloom.text.corpus import Corpus
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int64, UInt
    from numpy import ndarray as Array

PASSAGE_CHARS = 4_096
"""Most characters of a passage; a document may end before."""

PASSAGES_AT_ONCE = 128


def written_corpus(
    model: EngineModel,
    corpus: Corpus,
    num_chars: int,
    seed: int,
    *,
    before: Corpus | None = None,
    keep: Callable[[Corpus], None] | None = None,
) -> Generator[float, None, Corpus]:
    """A corpus whose training part a teacher writes, in steps: yields the share that is written.

    Args:
        model: the teacher.
        corpus: the text that it knows; the vocabulary and settings of the new corpus.
        num_chars: how many symbols it writes, with those that begin passages.
        seed: of the draws; the same seed gives the same text.
        before: what a call that was stopped has kept; of whole passages (see `is_whole`).
        keep: called after each batch of passages with the corpus so far.
    """
    ids: UInt[Array, " M"] = np.empty(0, corpus.vocab.dtype) if before is None else before.train
    found = _of_ids(corpus, ids)
    while len(ids) < num_chars:
        first, count = _num_passages(found), PASSAGES_AT_ONCE
        if corpus.vocab.boundary_id is None:  # documents end early, so that their number is not known
            count = min(count, math.ceil((num_chars - len(ids)) / PASSAGE_CHARS))
        batch = _passages(model, corpus.vocab, range(first, first + count), seed)
        passages = yield from mapped(batch, partial(_share, num_chars, len(ids)))
        ids = np.concatenate([ids, *passages])[:num_chars].astype(corpus.vocab.dtype)
        found = _of_ids(corpus, ids)
        if keep is not None:
            keep(found)
    return found


def is_whole(written: Corpus) -> bool:
    """Whether a text consists of whole passages, after which its teacher can write more."""
    ids, boundary = written.train, written.vocab.boundary_id
    return len(ids) % PASSAGE_CHARS == 0 if boundary is None else bool((ids[:1] == boundary).all())


def _num_passages(written: Corpus) -> int:
    """How many passages are in a text of whole ones; each document begins with the boundary."""
    ids, boundary = written.train, written.vocab.boundary_id
    return len(ids) // PASSAGE_CHARS if boundary is None else int(np.count_nonzero(ids == boundary))


def _of_ids(corpus: Corpus, ids: UInt[Array, " M"]) -> Corpus:
    """A corpus of these ids alone, with the vocabulary and settings of another."""
    return replace(corpus, train=ids, validation=None, test=None, num_chars=len(ids), sources=(), notes=())


def _share(num_chars: int, before: int, now: int) -> float:
    """The share that is written, after `before` symbols in whole batches and `now` in this one."""
    return min(1.0, (before + now) / num_chars)


def _passages(
    model: EngineModel, vocab: Vocabulary, numbers: range, seed: int
) -> Generator[int, None, list[Int64[Array, " n"]]]:
    """The passages with some numbers, each after what the model reads first; yields how many symbols are written."""
    begin = with_bos(np.empty(0, np.int64), vocab)
    parts: list[list[Int64[Array, " n"]]] = [[begin] for _ in numbers]
    sizes, rows = np.full(len(numbers), len(begin)), np.arange(len(numbers))
    params = SamplingParams(seed, banned=unwritable_ids(vocab), end_id=vocab.boundary_id)
    sampler = new_sampler(model, prefill_batch(model, [begin] * len(numbers), numbers, 0), params)
    while len(rows):
        ids, lengths, _ = sampler.decode(int(PASSAGE_CHARS - sizes[rows].max()))
        ended = np.zeros(len(rows), bool)
        for k, row in enumerate(rows):
            new = ids[k, : lengths[k]]
            ended[k] = len(new) > 0 and new[-1] == vocab.boundary_id
            parts[row].append(new[:-1] if ended[k] else new)
        sizes[rows] += lengths
        going = np.flatnonzero(~ended & (sizes[rows] < PASSAGE_CHARS))
        if len(going) < len(rows):
            rows = rows[going]
            sampler.keep(going)
        yield int(sizes.sum())
    return [np.concatenate(own) for own in parts]
