"""The JSON of answers: completions, their events, and models, in the form of OpenAI's interface."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

from charloom.serve.job import Job, TextPart
from charloom.serve.served_model import ServedModel
from charloom.serve.tokens import Token

SLICE = 512
"""Items of a list that are encoded in one call, during which no other thread of Python runs."""


def json_bytes(value: Any) -> bytes:
    """Compact JSON in UTF-8; a lone surrogate becomes its escape, which JSON has too."""
    return _json_text(value).encode("utf-8", "backslashreplace")


def _json_text(value: Any) -> str:
    if isinstance(value, dict):
        return (
            "{" + ",".join(f"{_dumped(str(key))}:{_json_text(inner)}" for key, inner in value.items()) + "}"
        )
    if isinstance(value, list) and len(value) > SLICE:
        parts = (_dumped(value[start : start + SLICE])[1:-1] for start in range(0, len(value), SLICE))
        return "[" + ",".join(parts) + "]"
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[" + ",".join(map(_json_text, value)) + "]"
    return _dumped(value)


def _dumped(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


class Completion:
    """What all parts of an answer to one request share."""

    def __init__(self, model: ServedModel) -> None:
        self._shared = {
            "id": f"cmpl-{secrets.token_hex(12)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model.name,
        }

    def whole(self, job: Job, pieces: Sequence[TextPart]) -> bytes:
        """The answer in one piece."""
        choices = [_choice(piece) for piece in sorted(pieces, key=lambda piece: piece.choice.index)]
        return json_bytes({**self._shared, "choices": choices, "usage": _usage(job)})

    def events(self, pieces: Iterable[TextPart]) -> bytes:
        """Server-sent events with new text."""
        return b"".join(_event({**self._shared, "choices": [_choice(piece)]}) for piece in pieces)

    def usage_event(self, job: Job) -> bytes:
        """The last event, if the client asked for it."""
        return _event({**self._shared, "choices": [], "usage": _usage(job)})


def error_event(envelope: dict[str, Any]) -> bytes:
    """A failure after the answer has begun."""
    return _event(envelope)


DONE_EVENT = b"data: [DONE]\n\n"


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + json_bytes(value) + b"\n\n"


def _choice(piece: TextPart) -> dict[str, Any]:
    log_probs = None if piece.choice.num_top is None else _log_probs(piece.tokens)
    return {
        "index": piece.choice.index,
        "text": piece.text,
        "logprobs": log_probs,
        "finish_reason": piece.finish_reason,
    }


def _log_probs(tokens: Sequence[Token]) -> dict[str, Any]:
    return {
        "tokens": [token.text for token in tokens],
        "token_logprobs": [token.log_prob for token in tokens],
        "top_logprobs": [token.top for token in tokens],
        "text_offset": [token.offset for token in tokens],
    }


def _usage(job: Job) -> dict[str, Any]:
    read, written = job.prompt_ids, job.written_ids
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": job.cached_ids},
    }


def model_object(model: ServedModel, *, with_vocabulary: bool = False) -> dict[str, Any]:
    """A model as ``/v1/models`` lists it; on request with the character of each id."""
    value = {"id": model.name, "object": "model", "created": model.created, "owned_by": "charloom"}
    return value | ({"vocabulary": list(model.token_names)} if with_vocabulary else {})


def model_list(models: Iterable[ServedModel]) -> dict[str, Any]:
    """All models."""
    return {"object": "list", "data": [model_object(model) for model in models]}
