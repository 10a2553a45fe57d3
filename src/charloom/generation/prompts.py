"""Encode a prompt by the same rules as the training text.

The prompt gets the training text's normal form and line ends. A character that the model does not know is an error
unless a policy is set; a policy reports each change in a note, so nothing is dropped or changed silently.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from charloom.config import TextConfig
from charloom.errors import UnknownCharacterError
from charloom.text.normalise import clean

if TYPE_CHECKING:
    from jaxtyping import Int64
    from numpy import ndarray as Array

    from charloom.text.vocabulary import Vocabulary

UnknownPolicy = Literal["error", "skip", "similar", "replace"]
"""How to treat a prompt character that the model does not know: the setting `SampleConfig.unknown`."""

_BACKSLASH = "\\"
_TYPED = r"; to type a newline in a prompt, write $'a\nb' in bash, or use --prompt-file"


def encode_prompt(
    text: str, vocab: Vocabulary, policy: UnknownPolicy, text_config: TextConfig
) -> tuple[Int64[Array, " T"], tuple[str, ...]]:
    """Turn a prompt into ids.

    Args:
        text: the prompt; may be empty.
        vocab: the model's vocabulary.
        policy: for characters that the model does not know: ``error``; ``skip`` leaves them out; ``similar`` reads
            the nearest known character instead; ``replace`` reads ``<unk>`` instead.
        text_config: the training text's settings; its normal form is applied to the prompt.

    Returns:
        The ids, int64, and one note per unknown character: how it was treated and how often it occurs.

    Raises:
        UnknownCharacterError: the prompt has an unknown character and the policy is ``error``, or ``similar`` with no
            similar character known, or ``replace`` for a model without ``<unk>``.

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
    chars = list(unknown)
    if policy == "error":
        raise _unknown(chars, vocab)
    if policy == "replace":
        if vocab.unk_id is None:
            raise _error(
                chars,
                why="--unknown replace reads such a character as <unk>, and this model was trained without <unk>",
                fix=f"pass {_flags(vocab.similar(chars[0]))}, or train with --min-count 2",
            )
        notes = [f"read {named(char)} as <unk>{_times(unknown[char])}" for char in chars]
        return np.asarray(vocab.encode(text), dtype=np.int64), tuple(notes)
    if policy == "skip":
        return vocab.encode_known(text).astype(np.int64), _notes(dict.fromkeys(chars, ""), unknown)
    substitutes = {char: _similar(char, vocab) for char in chars}
    ids = vocab.encode(text.translate({ord(char): new for char, new in substitutes.items()}))
    return np.asarray(ids, dtype=np.int64), _notes(substitutes, unknown)


def _similar(char: str, vocab: Vocabulary) -> str:
    substitute = vocab.similar(char)
    if substitute is None:
        raise _error(
            [char],
            why=f"none of the {len(vocab.symbols)} characters it knows is similar enough to replace it",
            fix="remove it from the prompt, or pass --unknown skip",
        )
    return substitute


def _unknown(chars: list[str], vocab: Vocabulary) -> UnknownCharacterError:
    substitute = vocab.similar(chars[0])
    nearest = "none of them is similar" if substitute is None else f"the most similar is {named(substitute)}"
    return _error(
        chars,
        why=f"it knows {len(vocab.symbols)} characters, fixed when it was trained; {nearest}",
        fix=f"retrain on text that contains it, or pass {_flags(substitute)}{_TYPED * (chars[0] == _BACKSLASH)}",
    )


def _error(chars: list[str], *, why: str, fix: str) -> UnknownCharacterError:
    what = f"the prompt contains {named(chars[0])}{_others(chars)}, which the model does not know"
    return UnknownCharacterError(what, why=why, fix=fix)


def _flags(substitute: str | None) -> str:
    return "--unknown skip" if substitute is None else "--unknown skip or --unknown similar"


def _others(chars: list[str]) -> str:
    """The unknown characters after the first; the first few by name."""
    if len(chars) == 1:
        return ""
    more = f" and {len(chars) - 4} more" if len(chars) > 4 else ""
    return f" (also {', '.join(named(char) for char in chars[1:4])}{more})"


def _notes(substitutes: Mapping[str, str], counts: Mapping[str, int]) -> tuple[str, ...]:
    treated = {
        char: f"read {named(char)} as {named(new)}" if new else f"left out {named(char)}"
        for char, new in substitutes.items()
    }
    return tuple(f"{note}{_times(counts[char])}" for char, note in treated.items())


def named(chars: str) -> str:
    """Characters in a message: with their code points; `repr` escapes control characters."""
    return f"{chars!r} ({' '.join(f'U+{ord(char):04X}' for char in chars)})"


def _times(count: int) -> str:
    return "" if count == 1 else f", {count} times"
