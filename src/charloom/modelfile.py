"""A model is one safe file: weights, configuration, text rules, vocabulary and card in one ``.safetensors``.

Nothing in it can be executed. Before allocating memory, a reader checks the header's size and JSON, the
format and its version, the configuration's bounds, the vocabulary, and that names, dtypes and shapes are
exactly those that configuration and vocabulary require; afterwards, that every number is finite.

Header metadata, all strings: ``format``, ``format_version``, and as JSON ``config``, ``text``, ``vocab``,
``card``.
Source of the container: safetensors 0.8, "Format" (8-byte little-endian header length, JSON header, tensor bytes).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, TextConfig, from_dict, stored_text_config, to_dict
from charloom.errors import CharloomError, ModelFileError
from charloom.files import atomic_write, json_text
from charloom.parameters import Shapes, parameter_shapes
from charloom.schema import MalformedError, Schema, json_value, unknown_note
from charloom.schema.documents import Card
from charloom.summary import short_fields
from charloom.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    from numpy import ndarray as Array

FORMAT, FORMAT_VERSION = "charloom", "1"
ENSEMBLE_FORMAT = "charloom-ensemble"
MAX_HEADER_BYTES = 64 << 20
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F64": np.dtype("<f8")}
_METADATA = ("config", "text", "vocab", "card")


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The contents of a model file.

    Attributes:
        parameters: arrays under the names of `charloom.parameters`, float32 or float64.
        model_config: the network.
        text_config: how text is encoded, also applied to prompts.
        vocab: the vocabulary.
        card: its training data, settings and results as plain JSON.
    """

    parameters: Mapping[str, Array]
    model_config: ModelConfig
    text_config: TextConfig
    vocab: Vocabulary
    card: dict[str, Any] = field(default_factory=dict)

    __repr__ = short_fields


def write_model(path: Path, model_file: ModelFile) -> None:
    """Write a model file atomically.

    Raises:
        RunError: the folder is not writable.
    """
    config, text = to_dict(model_file.model_config), to_dict(model_file.text_config)
    parts = dict(zip(_METADATA, (config, text, model_file.vocab.to_json(), model_file.card)))
    dumped = {key: json_text(part, sort_keys=True) for key, part in parts.items()}
    write_tensors(path, model_file.parameters, {"format": FORMAT, "format_version": FORMAT_VERSION, **dumped})


def write_tensors(path: Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write named arrays and string metadata as one safetensors file, atomically.

    The tensor bytes depend only on the content; the order of the metadata is up to the library.
    """
    from safetensors.numpy import save

    atomic_write(path, save({name: _plain(x) for name, x in tensors.items()}, metadata=dict(metadata)))


def _plain(x: Array) -> Array:
    """The array as contiguous little-endian float32 or float64."""
    return np.asarray(x, _DTYPES["F64" if x.dtype.itemsize == 8 else "F32"], order="C")


def read_model(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises:
        ModelFileError: it is missing, damaged, malicious or of another kind; the message says what failed.
    """
    path = Path(path)
    header, metadata = read_model_header(path)
    config, text, vocab, card = _read_metadata(path, metadata)
    check_tensors(path, header, parameter_shapes(config, len(vocab)))
    return ModelFile(load_tensors(path), config, text, vocab, card)


def read_model_header(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Read the header and metadata of a model file, without its tensors.

    Raises:
        ModelFileError: it is damaged, of another kind or version, or an ensemble.
    """
    header, metadata = read_header(path)
    if metadata.get("format") == ENSEMBLE_FORMAT:
        raise single_network_needed(str(path))
    if metadata.get("format") != FORMAT:
        raise damaged(path, "its header does not name the charloom format", "give a file written by charloom")
    if (version := metadata.get("format_version")) != FORMAT_VERSION:
        why = f"its format version is {version!r}, and this version of charloom reads {FORMAT_VERSION}"
        raise damaged(path, why, "upgrade charloom")
    return header, metadata


def newer_names_of_card(card: Mapping[str, Any], source: str) -> tuple[str, ...]:
    """A note on the names in a model's card that this version does not know; nothing if there are none."""
    written_by = str(card.get("versions", {}).get("charloom", ""))
    return unknown_note(source, Schema(Card, damaged_value(Path(source))).unknown(card), written_by)


def single_network_needed(name: str) -> ModelFileError:
    """The error for an ensemble where one network is needed."""
    return ModelFileError(
        f"{name} is an ensemble",
        why="this needs the weights and the settings of a single network",
        fix="name one of its members; sample, eval, score and info take ensembles",
    )


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Read a safetensors header and its metadata, without its tensors.

    Raises:
        ModelFileError: the header is invalid, or announces more bytes than the file contains.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as handle:
            prefix = handle.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
                raise damaged(path, "it does not begin with a safetensors header")
            header = json_value(handle.read(length))
    except OSError as error:
        fix = "give a run folder or a .safetensors model file"
        raise ModelFileError(f"cannot read {path}", why=error.strerror or str(error), fix=fix) from error
    except MalformedError as error:
        raise damaged(path, f"its header cannot be read: {error}") from error
    metadata = header.pop("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise damaged(path, "its header is not in the safetensors format")
    _check_layout(path, header, size - 8 - length)
    return header, metadata


def _check_layout(path: Path, header: dict[str, Any], data_size: int) -> None:
    """Check that each tensor's dtype, shape and bytes agree, and that together they fill the file exactly."""
    spans = []
    for name, entry in header.items():
        try:
            shape, (begin, end) = entry["shape"], entry["data_offsets"]
            size = math.prod(shape) * _DTYPES[entry["dtype"]].itemsize
            fits = all(type(n) is int and n >= 0 for n in (*shape, begin, end)) and end - begin == size
        except (KeyError, TypeError, ValueError):
            fits = False
        if not fits:
            raise damaged(path, f"its tensor {name[:80]!r} has an impossible dtype, shape or position")
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise damaged(path, "its tensors overlap or leave gaps")
        position = end
    if position != data_size:
        raise damaged(path, f"its tensors take {position:,} bytes and the file has {data_size:,}")


def _read_metadata(
    path: Path, metadata: Mapping[str, str]
) -> tuple[ModelConfig, TextConfig, Vocabulary, dict[str, Any]]:
    try:
        config, text, vocab, card = (json_value(metadata[key], finite=False) for key in _METADATA)
        if not all(isinstance(part, dict) for part in (config, text, vocab, card)):
            raise TypeError
    except (KeyError, TypeError, MalformedError) as error:
        raise damaged(path, "its config, text, vocab or card is missing or not a JSON object") from error
    Schema(Card, damaged_value(path)).check(card, "its card")
    source = f"the header of {path.name}"
    try:
        model_config = from_dict(ModelConfig, config, source=source)
        return model_config, stored_text_config(text, source=source), Vocabulary.from_json(vocab), card
    except (CharloomError, TypeError) as error:
        raise damaged(path, f"its header contains an invalid setting or vocabulary ({error})") from error


def check_tensors(path: Path, header: Mapping[str, dict[str, Any]], shapes: Shapes) -> None:
    """Refuse a file whose tensors are not exactly those its configuration requires."""
    found = {name: tuple(entry["shape"]) for name, entry in header.items()}
    for name in sorted(found.keys() | shapes.keys()):
        if (shape := found.get(name)) != (required := shapes.get(name)):
            why = f"its tensor {name[:80]!r} has shape {shape}, but its configuration requires {required}"
            raise damaged(path, why)


def load_tensors(path: Path) -> dict[str, Array]:
    """Load all tensors and check that every number is finite; call `read_header` first."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors: dict[str, Array] = load_file(path)
    except (SafetensorError, OSError) as error:
        raise damaged(path, f"safetensors cannot load it ({error})") from error
    for name, tensor in tensors.items():
        if not np.isfinite(tensor).all():
            raise damaged(path, f"its tensor {name[:80]!r} contains non-finite numbers")
    return tensors


def damaged(path: Path, why: str, fix: str = "use another copy, or train it again") -> ModelFileError:
    """The error for a file that failed a check."""
    return ModelFileError(f"{path} is not a usable model file", why=why, fix=fix)


def damaged_value(path: Path) -> Callable[[str, str], ModelFileError]:
    """Make the error for a value that does not fit its schema, from what was found and what is allowed."""
    return lambda what, why: damaged(path, f"{what}: {why}")
