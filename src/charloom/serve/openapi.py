"""The interface described for programs: ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charloom.serve.fields import FIELDS

_JSON, _NULL = "application/json", {"type": "null"}
_STRING, _INTEGER = {"type": "string"}, {"type": "integer"}
_MAYBE = {"anyOf": [_STRING, _NULL]}
_DATA = {**_STRING, "description": "a part of the answer as JSON; at the end, [DONE]"}
_EVENT = {"type": "object", "properties": {"data": _DATA, "event": _STRING}, "required": ["data"]}


def description(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document, whose request fields are those that are checked."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "charloom",
            "version": version,
            "description": "Character-level language models behind OpenAI's completions interface; a token is a character.",
        },
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
            "schemas": {"Error": _error()},
        },
        "paths": _paths(),
    }


def _paths() -> dict[str, Any]:
    """What is answered at each path."""
    fields = {
        name: {"anyOf": [dict(field.schema), _NULL], "description": field.about}
        for name, field in FIELDS.items()
    }
    model = _object({"id": _STRING, "object": _STRING, "created": _INTEGER, "owned_by": _STRING})
    return {
        "/v1/completions": {
            "post": _operation("Continue prompts.", _completion(), body=_object(fields, only=True))
        },
        "/v1/models": {
            "get": _operation(
                "List the models.",
                _object({"data": {"type": "array", "items": model}, "object": _STRING}),
            )
        },
        "/v1/models/{id}": {"get": _operation("Describe a model.", model, parameter="id")},
        "/tokenizer_info": {
            "get": _operation("What separates texts, for evaluation programs.", _object({"unit": _STRING}))
        },
        "/tokenize": {
            "post": _operation("The ids of a text.", _ids("tokens"), body=_tokenizer_body("prompt", _STRING))
        },
        "/detokenize": {
            "post": _operation(
                "The text of ids.",
                _object({"prompt": _STRING}),
                body=_tokenizer_body("tokens", _ids_schema()),
            )
        },
        "/health": {
            "get": _operation("Whether the server takes requests (200) or is stopping (503).", _health())
        },
        "/": {"get": _operation("The playground.", _STRING, kind="text/html")},
        "/reports/{id}": {
            "get": _operation("The inspection of a run.", _STRING, parameter="id", kind="text/html")
        },
        "/openapi.json": {"get": _operation("This document.", _object({"openapi": _STRING}))},
        "/metrics": {"get": _operation("Counters for Prometheus.", _STRING, kind="text/plain")},
    }


def _object(properties: Mapping[str, Any], *, only: bool = False) -> dict[str, Any]:
    """An object; `only` these properties, none of which is required, or all of these and more."""
    if only:
        return {"type": "object", "properties": properties, "additionalProperties": False}
    return {"type": "object", "properties": properties, "required": list(properties)}


def _error() -> dict[str, Any]:
    """The envelope of every refusal."""
    return _object(
        {"error": _object({"message": _STRING, "type": _STRING, "param": _MAYBE, "code": _STRING})}
    )


def _health() -> dict[str, Any]:
    return _object({"status": {"type": "string", "enum": ["ok", "stopping"]}})


def _completion() -> dict[str, Any]:
    choice = _object({"index": _INTEGER, "text": _STRING, "logprobs": {}, "finish_reason": _MAYBE})
    shared = {"id": _STRING, "object": _STRING, "created": _INTEGER, "model": _STRING}
    return _object({**shared, "choices": {"type": "array", "items": choice}, "usage": {"type": "object"}})


def _ids_schema() -> dict[str, Any]:
    return {"type": "array", "items": {"type": "integer", "minimum": 0}}


def _ids(name: str) -> dict[str, Any]:
    return _object({name: _ids_schema(), "count": _INTEGER})


def _tokenizer_body(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {"model": {"anyOf": [_STRING, _NULL]}, name: schema}
    return {"type": "object", "properties": properties, "required": [name]}


def _operation(
    summary: str,
    answer: Mapping[str, Any],
    *,
    body: Mapping[str, Any] | None = None,
    parameter: str | None = None,
    kind: str = _JSON,
) -> dict[str, Any]:
    """An operation, every other answer of which is an error in the envelope; streams are events of JSON."""
    content = {kind: {"schema": answer}}
    if "choices" in answer.get("properties", {}):
        content["text/event-stream"] = {"schema": _EVENT}
    refused = {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    operation: dict[str, Any] = {
        "summary": summary,
        "responses": {
            "200": {"description": "OK", "content": content},
            "429": {
                "description": "The server is busy; Retry-After says when to try again.",
                "content": refused,
            },
            "503": {"description": "The server is stopping.", "content": {_JSON: {}}},
            "default": {"description": "Refused; the code of the error says why.", "content": refused},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
    if parameter is not None:
        place = {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [place]
    return operation
