"""An ensemble is one safe file: the weights and settings of all its members, and one vocabulary.

    member.{k}.{name}    the tensors of member k, under the names of a model file
    members              header metadata, JSON: [{"config": ModelConfig, "card": …}, …]
    text, vocab, card    as in a model file; the card says what the ensemble was made of

The checks are those of a model file, for every member: see `charloom.modelfile`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from charloom import threads
from charloom.config import ModelConfig, TextConfig, from_dict, stored_text_config, to_dict
from charloom.engines import Engine, EngineModel
from charloom.engines.ensemble import EnsembleModel
from charloom.errors import CharloomError, ConfigError
from charloom.files import json_text
from charloom.modelfile import (
    ENSEMBLE_FORMAT,
    FORMAT_VERSION,
    ModelFile,
    check_tensors,
    damaged,
    damaged_value,
    load_tensors,
    read_header,
    read_model,
    write_tensors,
)
from charloom.parameters import parameter_shapes
from charloom.schema import MalformedError, Schema, json_value
from charloom.schema.documents import Card
from charloom.summary import short_fields
from charloom.text.vocabulary import Vocabulary

MOST_MEMBERS = 64
_READING = ("unit", "clean_bytes", "normalization", "replace_chars", "documents", "keep_separator")
"""Settings of reading in which members must agree, because prompts and texts are read once for all."""


@dataclass(frozen=True, slots=True)
class EnsembleFile:
    """The contents of an ensemble's file.

    Attributes:
        members: two or more models with one vocabulary.
        card: what it was made of.
    """

    members: tuple[ModelFile, ...]
    card: dict[str, Any] = field(default_factory=dict)

    __repr__ = short_fields

    @property
    def vocab(self) -> Vocabulary:
        """The vocabulary of every member."""
        return self.members[0].vocab

    @property
    def text_config(self) -> TextConfig:
        """How text is encoded, for every member."""
        return self.members[0].text_config

    @property
    def num_params(self) -> int:
        """The parameters of all members."""
        return sum(int(array.size) for member in self.members for array in member.parameters.values())


def members_of(file: ModelFile | EnsembleFile) -> tuple[ModelFile, ...]:
    """The networks of a file: its only one, or the members of an ensemble."""
    return file.members if isinstance(file, EnsembleFile) else (file,)


def bound(file: ModelFile | EnsembleFile, engine: Engine, **how: Any) -> EngineModel:
    """Bind a network, or every member of an ensemble, to an engine; `how` is what `Engine.model` takes."""
    models: list[Any] = [engine.model(one.parameters, one.model_config, **how) for one in members_of(file)]
    if len(models) == 1:
        only: EngineModel = models[0]
        return only
    if engine.name != "fused":
        return EnsembleModel(models)
    from charloom.engines.fused.ensemble import FusedEnsemble

    most = threads.available() if how.get("threads") is None else how["threads"]
    return FusedEnsemble(models, threads=most, portable=how.get("portable", False))


def combined(members: Sequence[ModelFile], card: Mapping[str, Any]) -> EnsembleFile:
    """Combine models.

    Raises:
        ConfigError: fewer than two, too many, or they differ in their vocabulary or in how they read text.
    """
    if not 2 <= len(members) <= MOST_MEMBERS:
        what, why = f"{len(members)} models", f"an ensemble has 2 to {MOST_MEMBERS} members"
        raise ConfigError(what, why=why, fix="name the run folders or model files of its members")
    check_same_reading([(one.vocab, one.text_config) for one in members], "model")
    return EnsembleFile(tuple(members), dict(card))


def check_same_reading(readings: Sequence[tuple[Vocabulary, TextConfig]], of: str) -> None:
    """Refuse members that know other characters or read text in another way than the first.

    Args:
        readings: of each member.
        of: what the members are in the message: model or recipe.

    Raises:
        ConfigError: there is one.
    """
    (first, how), *others = readings
    for number, (other, how_other) in enumerate(others, 2):
        for name in _READING:
            mine, theirs = getattr(how, name), getattr(how_other, name)
            if mine != theirs:
                raise ConfigError(
                    f"{name} is {mine!r} in {of} 1 and {theirs!r} in {of} {number}",
                    why="a text is read once for all members of an ensemble",
                    fix="train them with the same settings of the text",
                )
        if other.to_json() != first.to_json():
            raise ConfigError(
                f"{of}s 1 and {number} have different vocabularies, of {len(first)} and {len(other)}",
                why="the probabilities of one character are averaged, so every member must know the same characters",
                fix="train them on the same text, for example with charloom train TEXT --members 4",
            )


def write_ensemble(path: Path, ensemble: EnsembleFile) -> None:
    """Write an ensemble atomically; the runs that its card names are stored relative to the file.

    Raises:
        RunError: the folder is not writable.
    """
    members = [{"config": to_dict(one.model_config), "card": one.card} for one in ensemble.members]
    text, vocab = to_dict(ensemble.text_config), ensemble.vocab.to_json()
    card = ensemble.card | {"runs": [_relative(run, Path(path)) for run in ensemble.card.get("runs", [])]}
    parts = {"members": members, "text": text, "vocab": vocab, "card": card}
    metadata = {name: json_text(part, sort_keys=True) for name, part in parts.items()}
    tensors = {
        f"member.{k}.{name}": array
        for k, one in enumerate(ensemble.members)
        for name, array in one.parameters.items()
    }
    write_tensors(path, tensors, {"format": ENSEMBLE_FORMAT, "format_version": FORMAT_VERSION, **metadata})


def _relative(run: str, path: Path) -> str:
    try:
        return Path(os.path.relpath(run, path.absolute().parent)).as_posix()
    except ValueError:  # on another drive of Windows
        return run


def read_model_or_ensemble(path: Path) -> ModelFile | EnsembleFile:
    """Read and check a model file or an ensemble.

    Raises:
        ModelFileError: it is missing, damaged, malicious or of another kind.
    """
    path = Path(path)
    header, metadata = read_header(path)
    if metadata.get("format") != ENSEMBLE_FORMAT:
        return read_model(path)
    if (version := metadata.get("format_version")) != FORMAT_VERSION:
        why = f"its format version is {version!r}, and this version of charloom reads {FORMAT_VERSION}"
        raise damaged(path, why, "upgrade charloom")
    configs, cards, text, vocab, card = _read_metadata(path, metadata)
    names = {f"member.{k}.": parameter_shapes(config, len(vocab)) for k, config in enumerate(configs)}
    check_tensors(
        path, header, {p + name: shape for p, shapes in names.items() for name, shape in shapes.items()}
    )
    tensors = load_tensors(path)
    members = (
        ModelFile({name: tensors[prefix + name] for name in names[prefix]}, config, text, vocab, own)
        for prefix, config, own in zip(names, configs, cards, strict=True)
    )
    return EnsembleFile(tuple(members), card)


def _read_metadata(
    path: Path, metadata: Mapping[str, str]
) -> tuple[list[ModelConfig], list[dict[str, Any]], TextConfig, Vocabulary, dict[str, Any]]:
    try:
        members, text, vocab, card = (
            json_value(metadata[key], finite=False) for key in ("members", "text", "vocab", "card")
        )
        if not (isinstance(members, list) and 2 <= len(members) <= MOST_MEMBERS):
            raise TypeError
        configs, cards = ([member[part] for member in members] for part in ("config", "card"))
        if not all(isinstance(part, dict) for part in (*configs, *cards, text, vocab, card)):
            raise TypeError
    except (KeyError, TypeError, MalformedError) as error:
        raise damaged(path, "its members, text, vocab or card are missing or not JSON objects") from error
    for number, own in enumerate([card, *cards]):
        name = f"the card of member {number}" if number else "its card"
        Schema(Card, damaged_value(path)).check(own, name)
    source = f"the header of {path.name}"
    try:
        networks = [from_dict(ModelConfig, config, source=source) for config in configs]
        return networks, cards, stored_text_config(text, source=source), Vocabulary.from_json(vocab), card
    except (CharloomError, TypeError) as error:
        raise damaged(path, f"its header contains an invalid setting or vocabulary ({error})") from error
