"""How good a model is, beside honest baselines, and how much of what it writes is new."""

from charloom.evaluation.compressors import xz_bits_per_char
from charloom.evaluation.ngram import NgramResult, ngram_baseline, ngram_surprisals
from charloom.evaluation.novelty import Copy, known_word_share, longest_copy, unseen_share

__all__ = [
    "Copy",
    "NgramResult",
    "known_word_share",
    "longest_copy",
    "ngram_baseline",
    "ngram_surprisals",
    "unseen_share",
    "xz_bits_per_char",
]
