r"""Stop texts in the form of generated text: normalised as the training text was, and able to occur.

A model generates only characters of its vocabulary, so a stop text with any other never ends a sample and is refused.
What separates documents (the newline, with documents ``line``) is not generated either: the boundary symbol stands for
it and ends every sample, so such a stop text is left out with a note.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from charloom.config import TextConfig, unescaped
from charloom.errors import UnknownCharacterError
from charloom.generation.prompts import named
from charloom.text.normalise import clean

if TYPE_CHECKING:
    from charloom.text.vocabulary import Vocabulary


def stop_texts(
    stops: Sequence[str], vocab: Vocabulary, text_config: TextConfig
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Bring stop texts into the form in which the model generates text.

    Args:
        stops: as the user gave them.
        vocab: the model's vocabulary.
        text_config: the training text's settings; its normal form is applied.

    Returns:
        The stop texts to match, and one note per stop text that was left out.

    Raises:
        UnknownCharacterError: a stop text has a character outside the vocabulary, so it can never match.

    Example:
        >>> from charloom.text.vocabulary import Vocabulary
        >>> stop_texts(["e\u0301\r\n"], Vocabulary.from_text("é\n"), TextConfig())
        (('é\n',), ())
    """
    kept, notes = [], []
    for stop in stops:
        text = clean(stop, text_config)
        if vocab.boundary_id is not None and _separates(text, text_config):
            notes.append(f"stop text {stop!r} left out: every sample ends with its document")
            continue
        if unknown := vocab.unknown(text):
            raise _never(stop, min(unknown, key=text.find), vocab)
        kept.append(text)
    return tuple(kept), tuple(notes)


def _separates(text: str, config: TextConfig) -> bool:
    """Whether a text is what separates documents."""
    if config.keep_separator != "no":  # then it is part of a document, and generated
        return False
    if config.documents == "line":
        return text == "\n"
    if config.documents == "blank-line":
        return re.fullmatch(r"\n(?:[ \t]*\n)+", text) is not None
    return config.documents not in ("none", "file") and text == clean(unescaped(config.documents), config)


def _never(stop: str, char: str, vocab: Vocabulary) -> UnknownCharacterError:
    similar = vocab.similar(char)
    fix = "leave out --stop, or give a text of characters that the model knows"
    if similar is not None:
        fix = f"write {named(similar)} instead, or leave out --stop"
    elif vocab.boundary_id is not None and char == "\n":
        fix = "leave out --stop: every sample ends with its document"
    return UnknownCharacterError(
        f"the stop text {stop!r} contains {named(char)}, which the model does not know",
        why=f"it generates the {len(vocab.symbols)} characters of its training text only, so this can never end a sample",
        fix=fix,
    )
