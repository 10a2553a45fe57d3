"""The documents of a training text, and whether a generated text stands among them."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np

from charloom.text import Corpus


class TrainingDocuments:
    """What a corpus trains on, searched for whole samples.

    Example:
        >>> from charloom.config import TextConfig
        >>> from charloom.text import corpus_from_text
        >>> names = TrainingDocuments(corpus_from_text("anna\\nemma\\n" * 20, TextConfig(documents="line")))
        >>> names.contains("anna", is_whole=True), names.contains("ann", is_whole=True), names.contains("ann")
        (True, False, True)
    """

    def __init__(self, corpus: Corpus) -> None:
        self._is_stream = corpus.vocab.boundary_id is None
        self._whole = "" if not self._is_stream else corpus.vocab.decode(np.asarray(corpus.train))
        self._documents = [] if self._is_stream else sorted(set(documents_of(corpus)))

    def contains(self, text: str, *, is_whole: bool = False) -> bool:
        """Whether a text stands in the training text.

        Args:
            text: prompt and continuation. In a corpus of documents it counts from the beginning of one.
            is_whole: whether the document ends where the text ends.
        """
        if self._is_stream:
            return text in self._whole
        at = bisect_left(self._documents, text)
        found = self._documents[at] if at < len(self._documents) else None
        return found is not None and (found == text if is_whole else found.startswith(text))


def documents_of(corpus: Corpus) -> list[str]:
    """Decode the training documents of a corpus."""
    ids, boundary = np.asarray(corpus.train), corpus.vocab.boundary_id
    parts = np.split(ids, np.flatnonzero(ids == boundary))
    return [corpus.vocab.decode(part[1:] if part[:1] == boundary else part) for part in parts if len(part)]
