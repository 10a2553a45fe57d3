"""From a prompt to ids, by the rules of the text that the model was trained on.

The prompt gets the training text's normal form and line ends. A character that the model does not know is an error
unless a policy is chosen, and what a policy does is told in notes: nothing is dropped or changed in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from charloom.config import TextConfig
from charloom.errors import UnknownCharacterError
from charloom.text.clean import clean

if TYPE_CHECKING:
    from jaxtyping import Int64
    from numpy import ndarray as Array

    from charloom.text.vocabulary import Vocabulary

UnknownPolicy = Literal["error", "skip", "similar", "replace"]
"""What to do with a prompt character that the model does not know: the setting `SampleConfig.unknown`."""


def encode_prompt(
    text: str, vocab: Vocabulary, policy: UnknownPolicy, text_config: TextConfig
) -> tuple[Int64[Array, " T"], tuple[str, ...]]:
    """Turn a prompt into ids.

    Args:
        text: the prompt, perhaps empty.
        vocab: the model's vocabulary.
        policy: for characters that the model does not know: ``error``; ``skip`` leaves them out; ``similar`` reads
            the nearest known character instead; ``replace`` reads ``<unk>`` instead.
        text_config: how the training text was read; its normal form is applied to the prompt.

    Returns:
        The ids, int64, and one note for each unknown character: what became of it and how often.

    Raises:
        UnknownCharacterError: the policy is ``error``; or it is ``similar`` and no known character is near; or it is
            ``replace`` and the model has no ``<unk>``. A prompt of known characters never raises.

    Example:
        >>> from charloom.text.vocabulary import Vocabulary
        >>> ids, notes = encode_prompt("café", Vocabulary.from_text("face"), "similar", TextConfig())
        >>> ids.tolist(), notes
        ([1, 0, 3, 2], ("read 'é' (U+00E9) as 'e' (U+0065)",))
    """
    text = clean(text, text_config)
    unknown = vocab.unknown(text)
    if not unknown:
        return np.asarray(vocab.encode(text), dtype=np.int64), ()
    chars = sorted(unknown, key=text.find)
    if policy == "error":
        raise _unknown(chars, vocab)
    if policy == "replace":
        notes = [f"read {_name(char)} as <unk>{_times(unknown[char])}" for char in chars]
        return _encode_with_unk(text, vocab, chars), tuple(notes)
    substitutes = {char: "" if policy == "skip" else _similar(char, vocab) for char in chars}
    ids = vocab.encode(text.translate({ord(char): new for char, new in substitutes.items()}))
    return np.asarray(ids, dtype=np.int64), _notes(substitutes, unknown)


def _encode_with_unk(text: str, vocab: Vocabulary, chars: list[str]) -> Int64[Array, " T"]:
    if vocab.unk_id is None:
        raise UnknownCharacterError(
            f"the prompt holds {_name(chars[0])}{_others(chars)}, which the model does not know",
            why="--unknown replace reads such a character as <unk>, and this model was trained without one",
            fix=f"pass {_ways_on(vocab.similar(chars[0]))}, or train with --min-count 2",
        )
    return np.asarray(vocab.encode(text), dtype=np.int64)


def _similar(char: str, vocab: Vocabulary) -> str:
    substitute = vocab.similar(char)
    if substitute is None:
        raise UnknownCharacterError(
            f"the prompt holds {_name(char)}, which the model does not know",
            why=f"none of the {len(vocab.symbols)} characters it knows is near enough to stand for it",
            fix="write the prompt without it, or pass --unknown skip",
        )
    return substitute


def _unknown(chars: list[str], vocab: Vocabulary) -> UnknownCharacterError:
    substitute = vocab.similar(chars[0])
    nearest = "none of them is near it" if substitute is None else f"the nearest to it is {_name(substitute)}"
    return UnknownCharacterError(
        f"the prompt holds {_name(chars[0])}{_others(chars)}, which the model does not know",
        why=f"it knows {len(vocab.symbols)} characters, fixed when it was trained; {nearest}",
        fix=f"retrain on text that contains it, or pass {_ways_on(substitute)}",
    )


def _ways_on(substitute: str | None) -> str:
    return "--unknown skip" if substitute is None else "--unknown skip or --unknown similar"


def _others(chars: list[str]) -> str:
    """The unknown characters behind the first; the first few by name."""
    if len(chars) == 1:
        return ""
    more = f" and {len(chars) - 4} more" if len(chars) > 4 else ""
    return f" (also {', '.join(_name(char) for char in chars[1:4])}{more})"


def _notes(substitutes: Mapping[str, str], counts: Mapping[str, int]) -> tuple[str, ...]:
    return tuple(
        f"read {_name(char)} as {_name(new)}{_times(counts[char])}"
        if new
        else f"left out {_name(char)}{_times(counts[char])}"
        for char, new in substitutes.items()
    )


def _name(chars: str) -> str:
    """Characters with their code points; `repr` keeps those that would command a terminal visible."""
    return f"{chars!r} ({' '.join(f'U+{ord(char):04X}' for char in chars)})"


def _times(count: int) -> str:
    return "" if count == 1 else f", {count} times"
