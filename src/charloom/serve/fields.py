"""The fields of a completion request, declared once: for the check of a request and for ``/openapi.json``."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from charloom.serve.refusal import invalid

MAX_STOPS, MAX_STOP_CHARS = 16, 1024
MAX_LOGPROBS = 20


class Field(NamedTuple):
    """A field: its JSON schema, and what it does."""

    schema: Mapping[str, Any]
    about: str


def _whole(**bounds: int) -> dict[str, Any]:
    return {"type": "integer", **bounds}


def _number(**bounds: float) -> dict[str, Any]:
    return {"type": "number", **bounds}


_IDS = {"type": "array", "items": _whole(minimum=0)}
_STRING, _BOOLEAN = {"type": "string"}, {"type": "boolean"}
_STRINGS = {"type": "array", "items": _STRING}
_STOP = {"type": "string", "minLength": 1, "maxLength": MAX_STOP_CHARS}

FIELDS: Mapping[str, Field] = MappingProxyType(
    {
        "model": Field(_STRING, "a name from /v1/models; the first if left out"),
        "prompt": Field(
            {"anyOf": [_STRING, _STRINGS, _IDS, {"type": "array", "items": _IDS}]},
            "a text to continue, several, or ids of characters",
        ),
        "max_tokens": Field(_whole(minimum=0), "most characters to generate; 16 if left out"),
        "temperature": Field(_number(minimum=0), "above 1 bolder, below 1 safer, 0 greedy"),
        "top_p": Field(
            _number(exclusiveMinimum=0, maximum=1), "keep the likeliest with this probability in all"
        ),
        "top_k": Field(_whole(minimum=-1), "keep the k likeliest characters; 0 and -1 keep all"),
        "min_p": Field(
            _number(minimum=0, maximum=1), "keep those with this share of the largest probability"
        ),
        "repetition_penalty": Field(_number(exclusiveMinimum=0), "divides the odds of recent characters"),
        "repetition_window": Field(_whole(minimum=1, maximum=65_536), "how many characters are recent"),
        "logit_bias": Field(
            {"type": "object", "additionalProperties": _number(minimum=-100, maximum=100)},
            "for ids of characters, as strings: added to their logits",
        ),
        "seed": Field(_whole(), "same seed, same text, whatever the load; drawn if left out"),
        "n": Field(_whole(minimum=1), "texts for each prompt"),
        "stop": Field(
            {"anyOf": [_STOP, {"type": "array", "items": _STOP, "maxItems": MAX_STOPS}]},
            "end a text before one of these",
        ),
        "stream": Field(_BOOLEAN, "send the text as it is written, as server-sent events"),
        "stream_options": Field(
            {"type": "object"}, "include_usage: end with an event that counts characters"
        ),
        "echo": Field(_BOOLEAN, "begin each text with its prompt, scored if logprobs is set"),
        "logprobs": Field(
            _whole(minimum=0, maximum=MAX_LOGPROBS),
            "log-probabilities in nats, at temperature 1 and before all filters, with so many alternatives",
        ),
        "unknown": Field(
            {"type": "string", "enum": ["error", "skip", "similar", "replace"]},
            "what to do with characters of the prompt that the model does not know",
        ),
        "best_of": Field(_whole(minimum=1), "only equal to n"),
        "suffix": Field({"type": "string", "maxLength": 0}, "not supported: these models read forwards only"),
        "presence_penalty": Field(_number(minimum=0, maximum=0), "not supported: see repetition_penalty"),
        "frequency_penalty": Field(_number(minimum=0, maximum=0), "not supported: see repetition_penalty"),
        "user": Field(_STRING, "ignored"),
        "metadata": Field({"type": "object"}, "ignored"),
    }
)

_PYTHON_TYPES: Mapping[str, tuple[type, ...]] = MappingProxyType(
    {
        "string": (str,),
        "boolean": (bool,),
        "integer": (int,),
        "number": (int, float),
        "array": (list,),
        "object": (dict,),
    }
)


def checked(body: Any) -> dict[str, Any]:
    """The fields of a request that are set; null is as good as left out.

    Raises:
        Refusal: the body is not an object, a field has no meaning here, or a value is not as its schema says.
    """
    if not isinstance(body, dict):
        raise invalid(None, "the body is not a JSON object")
    unknown = next((name[:100] for name in body if name not in FIELDS), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, FIELDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise invalid(unknown, f"there is no field {unknown!r}{hint}", code="unknown_field")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        field = FIELDS[name]
        if (problem := _problem(value, field.schema)) is not None:
            raise invalid(name, f"{name} {problem} ({name}: {field.about})")
    return given


def _problem(value: Any, schema: Mapping[str, Any]) -> str | None:
    """Why a value does not fit a schema, or None."""
    if "anyOf" in schema:
        problems = [_problem(value, one) for one in schema["anyOf"]]
        return None if None in problems else "has the wrong type"
    kind = schema["type"]
    if not _is_a(kind, value):
        return f"must be of type {kind}"
    if kind == "array":
        return _problem_of_items(value, schema)
    if kind == "object":
        inner = schema.get("additionalProperties")
        return None if inner is None else _first(_problem(one, inner) for one in value.values())
    if kind == "string":
        return _problem_of_text(value, schema)
    return _problem_of_number(value, schema)


def _is_a(kind: str, value: Any) -> bool:
    """Whether a value has a type of JSON; to Python, true is an integer too."""
    return isinstance(value, _PYTHON_TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _problem_of_items(value: list[Any], schema: Mapping[str, Any]) -> str | None:
    if len(value) > schema.get("maxItems", len(value)):
        return f"has {len(value)} items, and at most {schema['maxItems']} are allowed"
    return _first(_problem(one, schema["items"]) for one in value)


def _problem_of_text(value: str, schema: Mapping[str, Any]) -> str | None:
    if "enum" in schema and value not in schema["enum"]:
        return f"must be one of {', '.join(schema['enum'])}"
    most = schema.get("maxLength", len(value))
    return (
        (f"must have at most {most} characters" if most else "must be empty") if len(value) > most else None
    )


def _problem_of_number(value: float, schema: Mapping[str, Any]) -> str | None:
    if schema["type"] == "number" and not abs(value) <= sys.float_info.max:
        return "must be a finite number"
    low, above, high = (schema.get(key) for key in ("minimum", "exclusiveMinimum", "maximum"))
    if low is not None and value < low:
        return f"must be at least {low}"
    if above is not None and value <= above:
        return f"must be above {above}"
    return f"must be at most {high}" if high is not None and value > high else None


def _first(problems: Any) -> str | None:
    return next((problem for problem in problems if problem is not None), None)
