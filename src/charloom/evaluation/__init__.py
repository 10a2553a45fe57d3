"""How good a model is, beside honest baselines, and how much of what it writes is new."""

from charloom.evaluation.compressors import xz_bits_per_char
from charloom.evaluation.copies import (
    COPY_FROM_CHARS,
    Copy,
    LengthBin,
    Matches,
    Novelty,
    Stretch,
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

__all__ = [
    "COPY_FROM_CHARS",
    "Copy",
    "LengthBin",
    "Matches",
    "NgramResult",
    "Novelty",
    "Oddity",
    "Stretch",
    "Surprisals",
    "TrainingText",
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
