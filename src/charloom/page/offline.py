"""A model as one HTML page that writes text offline, with the kernels compiled to WebAssembly.

Weights and kernels are in the page, compressed (gzip) in base64.
"""

from __future__ import annotations

import base64
import gzip
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.fused.packing import quantise
from charloom.errors import ConfigError
from charloom.kernels.library import FOLDER
from charloom.modelfile import ModelFile
from charloom.page.template import PageText, about, block, described, filled, json_block, part

if TYPE_CHECKING:
    from numpy import ndarray as Array

PagePrecision = Literal["float16", "float32", "int8"]
"""How a page stores its weights; it computes in float32, or with int8 matrices."""

_MATRICES = ("cell.w_hh", "proj", "mlp.down", "mlp.gate", "mlp.up")
_CONFIG = ("cell", "activation", "hidden_size", "num_layers", "block", "conv_width", "tie_embeddings")
"""The settings of a network that its parameters' shapes do not tell."""

_SAME_TEXT = {
    "float32": "With the same seed and settings, charloom sample --portable writes the same text.",
    "int8": "With the same seed and settings, charloom sample --portable --precision int8 writes the same text.",
    "float16": "The weights are stored in float16, so charloom sample may write another text with the same seed.",
}


def page_of(model: ModelFile, text: PageText, *, precision: PagePrecision = "float16") -> str:
    """Render a model as one self-contained HTML page, to be written as UTF-8.

    Raises:
        ConfigError: the WebAssembly module is not here, or a weight is too large for float16.
    """
    tensors, weights = _stored(model, precision)
    network = {name: getattr(model.model_config, name) for name in _CONFIG}
    about_model = described(model, text) | {"precision": precision, "config": network, "tensors": tensors}
    return filled(
        text,
        scripts=("page.js", "offline.js"),
        data=(
            json_block("model", about_model),
            block("weights", "application/gzip", _packed(weights)),
            block("kernels", "application/gzip", _packed(_module())),
            block("worker", "text/plain", "\n".join(map(part, ("network.js", "writer.js")))),
        ),
        rules={"script-src": "'wasm-unsafe-eval'", "worker-src": "blob:"},
        line=f"{about(model)} It writes in this page, offline.",
        note=f"Made with charloom. {_SAME_TEXT[precision]} Nothing that you type leaves this page.",
    )


def check_page() -> None:
    """Raise a ConfigError if the WebAssembly module is not here."""
    _module()


def _stored(model: ModelFile, precision: PagePrecision) -> tuple[list[dict[str, Any]], bytes]:
    """The list of tensors, and their bytes one after another."""
    tensors, parts, at = [], [], 0
    for name, array in model.parameters.items():
        kind, content = _as_bytes(name, np.asarray(array, np.float32), model.model_config, precision)
        tensors.append({"name": name, "shape": list(array.shape), "type": kind, "at": at})
        parts.append(content)
        at += len(content)
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


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, mtime=0)).decode()
