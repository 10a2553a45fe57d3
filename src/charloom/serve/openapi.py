"""The interface described for programs: ``/openapi.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from charloom.serve.fields import FIELDS


def description(version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document, whose request fields are those that are checked."""
    fields = {name: {**field.schema, "description": field.about} for name, field in FIELDS.items()}
    request = {"type": "object", "properties": fields, "additionalProperties": False}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "charloom",
            "version": version,
            "description": "Character-level language models behind OpenAI's completions interface; a token is a character.",
        },
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/v1/completions": {"post": _operation("Continue prompts.", body=request, refusals=True)},
            "/v1/models": {"get": _operation("List the models.")},
            "/v1/models/{id}": {"get": _operation("Describe a model.", parameter="id")},
            "/tokenizer_info": {"get": _operation("What separates texts, for evaluation programs.")},
            "/tokenize": {"post": _operation("The ids of a text.")},
            "/detokenize": {"post": _operation("The text of ids.")},
            "/health": {"get": _operation("Whether the server takes requests (200) or is stopping (503).")},
            "/metrics": {"get": _operation("Counters for Prometheus.", kind="text/plain")},
        },
    }


def _operation(
    summary: str,
    *,
    body: Mapping[str, Any] | None = None,
    parameter: str | None = None,
    kind: str = "application/json",
    refusals: bool = False,
) -> dict[str, Any]:
    answers = {"200": {"description": "OK", "content": {kind: {}}}}
    if refusals:
        refused = {
            "400": "A field is wrong.",
            "401": "The key is missing or wrong.",
            "404": "There is no such model.",
            "413": "The body is too large.",
            "429": "The server is busy; Retry-After says when to try again.",
            "503": "The server is stopping.",
            "504": "The request took too long.",
        }
        answers |= {status: {"description": about, "content": {}} for status, about in refused.items()}
    operation: dict[str, Any] = {"summary": summary, "responses": answers}
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if parameter is not None:
        place = {"name": parameter, "in": "path", "required": True, "schema": {"type": "string"}}
        operation["parameters"] = [place]
    return operation
