"""The page of a server: the same as an exported one, but the text comes from the completions interface."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from charloom.modelfile import ModelFile
from charloom.page.template import PageText, about, described, facts_of, filled, json_block


class PlaygroundModel(NamedTuple):
    """A model of a server.

    Args:
        name: as requests give it.
        file: the model.
        report: the address of its inspection on this server, or empty.
    """

    name: str
    file: ModelFile
    report: str = ""


def playground_of(models: Sequence[PlaygroundModel], *, needs_key: bool = False) -> str:
    """Render the page; it asks its own server only.

    Args:
        models: what is served, the first one first.
        needs_key: whether requests need a key, which the page then asks for; it says nothing of training texts, because
            it is shown without the key.
    """
    entries = [
        described(model.file, PageText(model.name, _prompt(model.file), model.file.card.get("sample", {})))
        | {
            "name": model.name,
            "about": about(model.file),
            "facts": () if needs_key else facts_of(model.file),
            "report": model.report,
        }
        for model in models
    ]
    return filled(
        PageText("charloom"),
        scripts=("page.js", "online.js"),
        data=(json_block("served", {"models": entries, "needsKey": needs_key}),),
        rules={"connect-src": "'self'"},
        line="",
        note="Made with charloom. What you type goes to this server only. Programs ask it at /v1/completions, whose "
        "fields are listed at /openapi.json.",
    )


def _prompt(file: ModelFile) -> str:
    """The prompt of the recipe if the model knows all its characters."""
    prompt: str = file.card.get("sample", {}).get("prompt", "")
    return "" if file.vocab.unknown(prompt) else prompt
