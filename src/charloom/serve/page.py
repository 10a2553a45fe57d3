"""The page at ``/``: the playground, which writes with the models of this server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from urllib.parse import quote

from charloom.page import PlaygroundModel, playground_of
from charloom.serve.served_model import ServedModel

REPORTS = "/reports"
"""Where the inspections of the models are; a link cannot send a key, so a server with a key has none."""

PAGE_HEADERS: Mapping[str, str] = MappingProxyType(
    {
        "Content-Security-Policy": "frame-ancestors 'none'",  # the rest is in the page, with hashes of its own parts
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
    }
)


def front_page(models: Iterable[ServedModel], *, needs_key: bool) -> str:
    """The page as HTML.

    Args:
        models: what is served.
        needs_key: whether requests need a key.
    """
    shown = [
        PlaygroundModel(
            model.name,
            model.file,
            f"{REPORTS}/{quote(model.name, safe='')}" if model.has_report and not needs_key else "",
        )
        for model in models
    ]
    return playground_of(shown, needs_key=needs_key)
