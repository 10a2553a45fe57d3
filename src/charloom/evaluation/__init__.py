"""Model quality next to fair baselines, and how much of the generated text is new."""

from charloom.evaluation.compressors import xz_bits_per_char
from charloom.evaluation.line_surprisal import LineSurprisal
from charloom.evaluation.memorisation import (
    COPY_FROM_CHARS,
    CopiedSpan,
    Copy,
    LengthBin,
    Matches,
    Novelty,
    TrainingText,
    judged,
    length_histogram,
    length_quantiles,
    longest_copy,
    match_lengths,
    novelty_of,
)
from charloom.evaluation.ngram import NgramResult, ngram_baseline, ngram_surprisals
from charloom.evaluation.novelty import known_word_share, unseen_share
from charloom.evaluation.surprisal import Oddity, Surprisals, surprisals_of
from charloom.evaluation.training_documents import TrainingDocuments, documents_of

__all__ = [
    "COPY_FROM_CHARS",
    "CopiedSpan",
    "Copy",
    "LengthBin",
    "LineSurprisal",
    "Matches",
    "NgramResult",
    "Novelty",
    "Oddity",
    "Surprisals",
    "TrainingDocuments",
    "TrainingText",
    "documents_of",
    "judged",
    "known_word_share",
    "length_histogram",
    "length_quantiles",
    "longest_copy",
    "match_lengths",
    "ngram_baseline",
    "ngram_surprisals",
    "novelty_of",
    "surprisals_of",
    "unseen_share",
    "xz_bits_per_char",
]
