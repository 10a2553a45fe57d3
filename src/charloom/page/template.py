"""What both pages share: the template, its policy, and what is said of a model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib import resources
from typing import Any, NamedTuple

from charloom.config import TextConfig, parse_replacements
from charloom.generation.escape import visible
from charloom.modelfile import ModelFile
from charloom.runs import results_line

_FORMS = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD", "none": None}
_FIELDS = {"temperature": "temperature", "top_k": "top-k", "top_p": "top-p", "min_p": "min-p"}


class PageText(NamedTuple):
    """What a page says of its model.

    Args:
        title: heading, plain text.
        prompt: the beginning that the page suggests.
        settings: sampling settings of the model's recipe.
        facts: (label, text) of the model card at the foot.
    """

    title: str
    prompt: str = ""
    settings: Mapping[str, Any] = {}
    facts: tuple[tuple[str, str], ...] = ()


def described(model: ModelFile, text: PageText) -> dict[str, Any]:
    """What the script needs to turn texts into ids and back, and how it fills the form."""
    vocab, config = model.vocab, model.text_config
    return {
        "vocab": {"unit": vocab.unit, "symbols": vocab.symbols, "specials": vocab.specials},
        "text": _cleaning(config),
        "prompt": text.prompt,
        "settings": {_FIELDS[name]: str(value) for name, value in text.settings.items() if name in _FIELDS},
    }


def _cleaning(config: TextConfig) -> dict[str, Any]:
    """How a prompt is cleaned: see `text.normalise`."""
    replaced = {} if config.replace_chars is None else parse_replacements(config.replace_chars)
    return {"form": _FORMS[config.normalization], "raw": config.is_raw, "replaced": dict(replaced)}


def about(model: ModelFile) -> str:
    """One line on a model's network.

    Example:
        >>> from charloom.config import ModelConfig, TextConfig
        >>> from charloom.text import Vocabulary
        >>> config = ModelConfig(cell="gru", hidden_size=8, block="residual")
        >>> about(ModelFile({}, config, Vocabulary.from_text("a"), TextConfig(), {}))
        'A character-level recurrent network: gru, 1 × 8, residual; 0 weights.'
    """
    network = model.model_config
    size = sum(array.size for array in model.parameters.values())
    residual = ", residual" if network.block == "residual" else ""
    shape = f"{network.cell}, {network.num_layers} × {network.hidden_size}{residual}"
    return f"A character-level recurrent network: {shape}; {size:,} weights."


def facts_of(
    model: ModelFile, *, longest_copy: int | None = None, num_chars: int = 0
) -> tuple[tuple[str, str], ...]:
    """What is recorded of a model, and measured for its page: (label, text).

    Args:
        model: the model.
        longest_copy: the longest passage of the training text in `num_chars` characters that the model wrote; None if
            that was not measured.
        num_chars: see there.
    """
    card = model.card
    results, corpus = card.get("results", {}), card.get("corpus", {})
    copied = f"{longest_copy or 0:,} characters of the training text, in {num_chars:,} that the model wrote"
    rows = {
        "held-out text": results_line(results, model.vocab.unit),
        "trained on": f"{corpus['name']}, {corpus['num_chars']:,} characters" if corpus else "",
        "recipe": card.get("recipe") or "",
        "made": str(card.get("created", ""))[:10],
        "longest copy": "" if longest_copy is None else copied,
        "verdict": "; ".join(verdict["says"] for verdict in results.get("verdicts", ())),
    }
    return tuple((label, text) for label, text in rows.items() if text)


def part(name: str) -> str:
    """A file of `parts`."""
    return (resources.files("charloom.page") / "parts" / name).read_text("utf-8")


def block(name: str, kind: str, content: str) -> str:
    """A block of data in a page; a browser does not run it."""
    assert "</script" not in content.lower()
    return f'<script type="{kind}" id="{name}">{content}</script>'


def json_block(name: str, value: Any) -> str:
    """A block of JSON that holds no markup, whatever its strings are."""
    content = json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")
    return block(name, "application/json", content)


def filled(
    text: PageText,
    *,
    scripts: Sequence[str],
    data: Sequence[str],
    rules: Mapping[str, str],
    line: str,
    note: str,
) -> str:
    """Fill the template.

    Args:
        text: heading and facts.
        scripts: the parts that its script is joined from.
        data: its blocks.
        rules: of its content security policy, beside those for its own script and style.
        line: the sentence below the heading.
        note: the sentences at the foot.
    """
    script, style = "\n".join(map(part, scripts)), part("page.css")
    facts = (f"<dt>{escape(visible(a))}</dt><dd>{escape(visible(b))}</dd>" for a, b in text.facts)
    parts = {
        "policy": _policy(script, style, rules),
        "title": escape(visible(text.title)),
        "style": style,
        "about": escape(line),
        "loading": "Loading …",
        "card": "".join(facts),
        "note": escape(note),
        "data": "\n".join(data),
        "script": script,
    }
    pieces = []
    for piece in part("page.html").split("{"):  # a part may hold braces itself, so each place is filled once
        name, brace, rest = piece.partition("}")
        pieces.append(parts[name] + rest if brace and name in parts else piece)
    return "".join(pieces)


def _policy(script: str, style: str, rules: Mapping[str, str]) -> str:
    """A content security policy: this script and this style, and what `rules` add."""
    hashes = [base64.b64encode(hashlib.sha256(x.encode()).digest()).decode() for x in (script, style)]
    own = {
        "default-src": "'none'",
        "script-src": " ".join(filter(None, [f"'sha256-{hashes[0]}'", rules.get("script-src")])),
        "style-src": f"'sha256-{hashes[1]}'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",  # no string becomes code, where a browser knows how to see to it
        "trusted-types": "charloom",
    }
    return "; ".join(f"{name} {value}" for name, value in (dict(rules) | own).items())
