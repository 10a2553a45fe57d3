"""Texts to ids and back for evaluation programs, which count tokens: the three paths of vLLM's server.

lm-evaluation-harness finds them by itself, so its ``local-completions`` scores texts without another tokenizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from charloom.errors import CharloomError, UnknownCharacterError
from charloom.generation import encode_prompt
from charloom.serve.refusal import invalid
from charloom.serve.served_model import ServedModel


def tokenizer_info(model: ServedModel) -> dict[str, Any]:
    """What separates texts: a newline, or else the first character."""
    names = model.token_names
    separator = "\n" if "\n" in names else names[0]
    return {"eos_token": separator, "bos_token": separator, "unit": model.vocab.unit}


def tokenized(given: Any, model: ServedModel) -> dict[str, Any]:
    """The ids of ``prompt``.

    Raises:
        Refusal: it is not a text, or has unknown characters.
    """
    text = _field(given, "prompt", str)
    try:
        ids, _ = encode_prompt(text, model.vocab, "error", model.file.text_config)
    except UnknownCharacterError as error:
        raise invalid("prompt", f"{error.what}: {error.why}", code="unknown_character") from error
    except CharloomError as error:
        raise invalid("prompt", f"{error.what}: {error.why}") from error
    return {"tokens": ids.tolist(), "count": len(ids), "max_model_len": None}


def detokenized(given: Any, model: ServedModel) -> dict[str, Any]:
    """The text of ``tokens``.

    Raises:
        Refusal: they are not ids of the model.
    """
    ids = _field(given, "tokens", list)
    if not all(type(one) is int and 0 <= one < len(model.vocab) for one in ids):
        raise invalid("tokens", f"tokens are ids from 0 to {len(model.vocab) - 1}")
    return {"prompt": model.vocab.decode(np.array(ids, np.int64))}


def _field(given: Any, name: str, kind: type) -> Any:
    value = given.get(name) if isinstance(given, Mapping) else None
    if not isinstance(value, kind):
        raise invalid(name, f"{name} must be of type {'string' if kind is str else 'array'}")
    return value
