"""A model as one HTML page that writes text offline, with the kernels compiled to WebAssembly.

    page.html     the template; page.css, page.js     what the reader sees and does
    offline.js    opens the page: unpacks weights and kernels, and starts the worker
    network.js    lays the parameters out as the kernels read them; writer.js     the worker

The page has a policy that lets it fetch nothing, and its script only writes text, never markup. Weights and kernels
are compressed (gzip) in base64.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from importlib import resources
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from charloom.config import ModelConfig, TextConfig, parse_replacements
from charloom.engines.fused.packing import quantise
from charloom.errors import ConfigError
from charloom.export.card import Demonstration
from charloom.generation.escape import visible
from charloom.kernels.library import FOLDER
from charloom.modelfile import ModelFile
from charloom.runs import results_line

if TYPE_CHECKING:
    from numpy import ndarray as Array

PagePrecision = Literal["float16", "float32", "int8"]
"""How a page stores its weights; it computes in float32, or with int8 matrices."""

_FORMS = {"nfc": "NFC", "nfd": "NFD", "nfkc": "NFKC", "nfkd": "NFKD", "none": None}
_MATRICES = ("cell.w_hh", "proj", "mlp.down", "mlp.gate", "mlp.up")
_SETTINGS = {"temperature": "temperature", "top_k": "top-k", "top_p": "top-p", "min_p": "min-p"}


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


def page_of(model: ModelFile, text: PageText, *, precision: PagePrecision = "float16") -> str:
    """Render a model as one self-contained HTML page, to be written as UTF-8.

    Raises:
        ConfigError: the WebAssembly module is not here, or a weight is too large for float16.
    """
    tensors, weights = _stored(model, precision)
    network = model.model_config
    described = {
        "precision": precision,
        "config": {name: getattr(network, name) for name in _CONFIG},
        "vocab": {"unit": model.vocab.unit, "symbols": model.vocab.symbols, "specials": model.vocab.specials},
        "text": _cleaning(model.text_config),
        "prompt": text.prompt,
        "settings": {
            _SETTINGS[name]: str(value) for name, value in text.settings.items() if name in _SETTINGS
        },
        "tensors": tensors,
    }
    script = "\n".join(_file(name) for name in ("page.js", "offline.js"))
    worker = "\n".join(_file(name) for name in ("network.js", "writer.js"))
    data = "\n".join(
        [
            _block("model", "application/json", _json(described)),
            _block("weights", "application/gzip", _packed(weights)),
            _block("kernels", "application/gzip", _packed(_module())),
            _block("worker", "text/plain", worker),
        ]
    )
    return _filled(
        text, style=_file("page.css"), script=script, data=data, about=_about(model), note=_note(precision)
    )


_CONFIG = (
    "cell",
    "activation",
    "hidden_size",
    "num_layers",
    "block",
    "conv_width",
    "tie_embeddings",
)
"""The settings of a network that its parameters' shapes do not tell."""


def _stored(model: ModelFile, precision: PagePrecision) -> tuple[list[dict[str, Any]], bytes]:
    """The list of tensors, and their bytes one after another."""
    tensors, parts, at = [], [], 0
    for name, array in model.parameters.items():
        kind, part = _as_bytes(name, np.asarray(array, np.float32), model.model_config, precision)
        tensors.append({"name": name, "shape": list(array.shape), "type": kind, "at": at})
        parts.append(part)
        at += len(part)
    return tensors, b"".join(parts)


def _as_bytes(name: str, array: Array, config: ModelConfig, precision: PagePrecision) -> tuple[str, bytes]:
    """The type that a tensor is stored in, and its bytes; int8 comes after its scales."""
    if precision == "int8" and _is_quantised(name, config):
        matrix, scales = quantise(array)
        return "int8", scales.astype("<f4").tobytes() + matrix.tobytes()
    if precision != "float16":
        return "float32", array.astype("<f4").tobytes()
    with np.errstate(over="ignore"):
        halves = array.astype("<f2")
    if np.isinf(halves).any():
        raise ConfigError(
            f"{name} has a weight of {np.abs(array).max():.3g}",
            why="float16 ends at 65504",
            fix="use --precision float32",
        )
    return "float16", halves.tobytes()


def _is_quantised(name: str, config: ModelConfig) -> bool:
    """Whether the kernels multiply by a tensor: tables and vectors stay in float32."""
    if name == "out.weight":
        return not config.tie_embeddings
    layer, _, own = name.removeprefix("layers.").partition(".")
    if own == "cell.w_ih":
        return config.block == "residual" or layer != "0"
    return own in _MATRICES


def _cleaning(config: TextConfig) -> dict[str, Any]:
    """How a prompt is cleaned: see `text.normalise`."""
    replaced = {} if config.replace_chars is None else parse_replacements(config.replace_chars)
    return {"form": _FORMS[config.normalization], "raw": config.is_raw, "replaced": dict(replaced)}


def check_page() -> None:
    """Raise a ConfigError if the WebAssembly module is not here."""
    _module()


def _module() -> bytes:
    path = FOLDER / "charloom.wasm"
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"the WebAssembly module is not at {path}",
            why=f"it is built with charloom's wheel ({error.strerror})",
            fix="reinstall charloom; in a checkout: python tools/build_kernels.py --target wasm",
        ) from error


def _file(name: str) -> str:
    return (resources.files("charloom.export") / "page" / name).read_text("utf-8")


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()


def _json(value: Any) -> str:
    """JSON that holds no markup, whatever its strings are."""
    return json.dumps(value, ensure_ascii=True, allow_nan=False).replace("<", "\\u003c")


def _block(name: str, kind: str, content: str) -> str:
    assert "</script" not in content.lower()
    return f'<script type="{kind}" id="{name}">{content}</script>'


def _policy(script: str, style: str) -> str:
    """A content security policy: this script, this style and workers of this page; nothing is fetched."""
    hashes = [base64.b64encode(hashlib.sha256(x.encode()).digest()).decode() for x in (script, style)]
    rules = {
        "default-src": "'none'",
        "script-src": f"'sha256-{hashes[0]}' 'wasm-unsafe-eval'",
        "style-src": f"'sha256-{hashes[1]}'",
        "worker-src": "blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def _about(model: ModelFile) -> str:
    network = model.model_config
    size = sum(array.size for array in model.parameters.values())
    shape = f"{network.cell}, {network.num_layers} × {network.hidden_size}" + (
        ", residual" if network.block == "residual" else ""
    )
    return (
        f"A character-level recurrent network ({shape}; {size:,} weights) that writes in this page, offline."
    )


def _note(precision: PagePrecision) -> str:
    same = {
        "float32": "With the same seed and settings, charloom sample --portable writes the same text.",
        "int8": "With the same seed and settings, charloom sample --portable --precision int8 writes the same text.",
        "float16": "The weights are stored in float16, so charloom sample may write another text with the same seed.",
    }
    return f"Made with charloom. {same[precision]} Nothing that you type leaves this page."


def _rows(facts: tuple[tuple[str, str], ...]) -> Iterator[str]:
    for label, text in facts:
        yield f"<dt>{escape(visible(label))}</dt><dd>{escape(visible(text))}</dd>"


def _filled(text: PageText, *, style: str, script: str, data: str, about: str, note: str) -> str:
    parts = {
        "policy": _policy(script, style),
        "title": escape(visible(text.title)),
        "style": style,
        "about": escape(about),
        "loading": "Loading …",
        "card": "".join(_rows(text.facts)),
        "note": escape(note),
        "data": data,
        "script": script,
    }
    page = _file("page.html")
    pieces = []
    for piece in page.split("{"):  # a part may hold braces itself, so each place is filled once
        name, brace, rest = piece.partition("}")
        pieces.append(parts[name] + rest if brace and name in parts else piece)
    return "".join(pieces)


def facts_of(model: ModelFile, demonstration: Demonstration | None = None) -> tuple[tuple[str, str], ...]:
    """What is recorded of a model and measured for its page: (label, text)."""
    card, unit = model.card, model.vocab.unit
    copied = None if demonstration is None else demonstration.longest_copy_chars
    results, corpus = card.get("results", {}), card.get("corpus", {})
    rows = {
        "held-out text": results_line(results, unit),
        "trained on": f"{corpus['name']}, {corpus['num_chars']:,} characters" if corpus else "",
        "recipe": card.get("recipe") or "",
        "made": str(card.get("created", ""))[:10],
        "longest copy": ""
        if copied is None or demonstration is None
        else f"{copied:,} characters of the training text, in {demonstration.num_chars:,} that the model wrote",
        "verdict": "; ".join(verdict["says"] for verdict in results.get("verdicts", ())),
    }
    return tuple((label, text) for label, text in rows.items() if text)
