"""Suggest a flag for one that does not exist: what other programs call it, what it abbreviates, or the nearest spelling."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

ELSEWHERE: Mapping[str, str] = MappingProxyType(
    {
        "--lr": "--learning-rate",
        "--max-iters": "--steps",
        "--iterations": "--steps",
        "--seq-length": "--bptt-length",
        "--seq-len": "--bptt-length",
        "--block-size": "--bptt-length",
        "--rnn-size": "--hidden-size",
        "--num-samples": "--count",
        "--max-new-tokens": "--length",
        "--start": "--prompt",
        "--model": "--cell",
    }
)
"""Flags of other programs for the same thing."""

MOST = 3


def flags_like(word: str, known: Sequence[str]) -> list[str]:
    """The flags that `word` may stand for, at most `MOST`, the best first.

    Args:
        word: the flag as given, with its dashes.
        known: the flags of the verb.

    Example:
        >>> known = ["--temperature", "--stream", "--top-k", "--top-p", "--stop", "--num-layers", "--learning-rate"]
        >>> [flags_like(word, known) for word in ("--temp", "--top", "--layers", "--lr", "--temprature", "--zzz")]
        [['--temperature'], ['--top-k', '--top-p'], ['--num-layers'], ['--learning-rate'], ['--temperature'], []]
    """
    if ELSEWHERE.get(word) in known:
        return [ELSEWHERE[word]]
    begun = [flag for flag in known if flag.startswith(word)]
    whole_words = [flag for flag in begun if flag.startswith(f"{word}-")]
    ended = [flag for flag in known if flag.endswith(f"-{word.lstrip('-')}")]
    near = difflib.get_close_matches(word, known, 1, cutoff=0.6)
    return (whole_words or begun or ended or near)[:MOST]
