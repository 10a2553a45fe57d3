"""A corpus with the ids of a larger vocabulary, such as that of the text and of a model together."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from charloom.text.corpus import Corpus
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int64
    from numpy import ndarray as Array


def with_vocabulary(corpus: Corpus, vocab: Vocabulary) -> Corpus:
    """The corpus with the ids of a vocabulary that has all its symbols.

    Raises:
        ValueError: it lacks one.
    """
    if vocab == corpus.vocab:
        return corpus
    places = positions(corpus.vocab, vocab)
    if (places < 0).any():
        raise ValueError("the vocabulary lacks symbols of the text")
    new_ids = places.astype(vocab.dtype)
    held_out, test = corpus.validation, corpus.test
    return replace(
        corpus,
        vocab=vocab,
        train=new_ids[corpus.train],
        validation=None if held_out is None else new_ids[held_out],
        test=None if test is None else new_ids[test],
    )


def positions(vocab: Vocabulary, among: Vocabulary) -> Int64[Array, " V"]:
    """The id that each id of a vocabulary has among another one; −1 if it has none."""
    ids = {name: i for i, name in enumerate([*among.symbols, *among.specials])}
    return np.array([ids.get(name, -1) for name in [*vocab.symbols, *vocab.specials]], np.int64)
