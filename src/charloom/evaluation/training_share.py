"""How much of a scored text is training text: then its loss says how well it was learnt, not how new text is predicted.

Of a stream, a character counts inside a passage of at least `COPY_FROM_CHARS` characters that occurs in the training
part, which of new text holds for less than 2 % (see `charloom.evaluation.memorisation`). Of documents, it counts if
its whole document is one of the training documents.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom.evaluation.memorisation import TrainingText, novelty_of
from charloom.text import Vocabulary

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

NOTED_FROM = 0.1
"""Share from which a text is called training text."""

_MOST_CHARS = 50_000


def training_share(ids: Int[Array, "M"], train: Int[Array, "N"], vocab: Vocabulary) -> float:
    """The share of a text's characters that are training text; of a stream, of its first 50,000 characters.

    Args:
        ids: the scored text, (M,), beginning with a boundary if the model has documents.
        train: the training part, (N,).
        vocab: of both.

    Example:
        >>> vocab = Vocabulary.from_text("abcdefghij")
        >>> train = np.random.default_rng(0).integers(0, 10, 500)
        >>> training_share(train[200:300], train, vocab), training_share(train[300:200:-1], train, vocab)
        (1.0, 0.0)
    """
    if vocab.boundary_id is not None:
        known = {document.tobytes() for document in _documents(train, vocab.boundary_id)}
        parts = _documents(np.asarray(ids).astype(train.dtype), vocab.boundary_id)
        return sum(len(part) for part in parts if part.tobytes() in known) / max(1, len(ids))
    [found] = novelty_of([vocab.decode(ids[:_MOST_CHARS])], TrainingText(train, vocab))
    return found.copied_share


def _documents(ids: Int[Array, "N"], boundary_id: int) -> list[Int[Array, "D"]]:
    """Each document with its boundary."""
    return np.split(np.asarray(ids), np.flatnonzero(np.asarray(ids) == boundary_id))[1:]
