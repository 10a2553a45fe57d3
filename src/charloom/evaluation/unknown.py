"""The charge for unknown characters, added to a loss that was measured without it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from charloom.evaluation.protocols import Score
from charloom.text import Scoring, Vocabulary, bytes_per_id


def charged(score: Score, scoring: Scoring, vocab: Vocabulary) -> Score:
    """Charge the unknown characters of a scored text by the rule of `charloom.text.oov`.

    Args:
        score: of `scoring.ids`, by any protocol; its mean stands for the whole text.
        scoring: the text.
        vocab: the model's.

    Returns:
        The score over all characters of the text, unknown ones included.
    """
    predicted, unpredicted = max(0, len(scoring.ids) - 1), num_unpredicted(scoring, vocab)
    total = max(1, predicted + unpredicted)
    error = score.standard_error
    return replace(
        score,
        chars=score.chars + (unpredicted if score.protocol != "windows" else 0),
        loss_nats=(score.loss_nats * predicted + scoring.num_unknown * scoring.unseen_nats) / total,
        unknown_chars=scoring.num_unknown,
        unknown_fraction=scoring.unknown_fraction,
        bytes_per_char=_bytes_per_char(scoring, vocab),
        unit=vocab.unit,
        standard_error=None if error is None else error * predicted / total,
    )


def num_unpredicted(scoring: Scoring, vocab: Vocabulary) -> int:
    """How many unknown characters are charged although no symbol of `scoring.ids` after the first stands for them."""
    if scoring.unseen_nats == 0:
        return 0
    if vocab.unk_id is None:
        return scoring.num_unknown
    return int(len(scoring.ids) > 0 and int(scoring.ids[0]) == vocab.unk_id)


def _bytes_per_char(scoring: Scoring, vocab: Vocabulary) -> float:
    """UTF-8 bytes per symbol of the text, each unknown character with its own bytes."""
    known = scoring.ids if vocab.unk_id is None else scoring.ids[scoring.ids != vocab.unk_id]
    num_bytes = bytes_per_id(vocab, known) * len(known) if len(known) else 0.0
    num_bytes += sum(
        len(char.encode("utf-8", "surrogatepass")) * n for char, n in scoring.unknown_counts.items()
    )
    num = len(known) + scoring.num_unknown
    return num_bytes / num if num else float(np.nan)
