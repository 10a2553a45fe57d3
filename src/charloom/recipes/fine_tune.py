"""Fine-tuning: a training that starts from the weights of a model and reads another text.

The network is the model's. The vocabulary has the model's characters and those of the text; a character that the model
has not seen begins with the mean of the weights of those that it has (Hewitt 2021, "Initializing New Word Embeddings").
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import ModelConfig, TrainConfig, from_dict, to_dict
from charloom.errors import ConfigError, RunError
from charloom.modelfile import ModelFile, read_model
from charloom.parameters import parameter_shapes
from charloom.recipes.files import BUDGETS, Recipe
from charloom.runs import Run, model_file_of
from charloom.text import Corpus, Vocabulary
from charloom.text.vocabulary import BOUNDARY, SPECIALS
from charloom.text.widen import positions, with_vocabulary

if TYPE_CHECKING:
    from numpy import ndarray as Array

LEARNING_RATE_SHARE = 0.3
"""Learning rate of fine-tuning, as a share of the one that the model was trained with."""

_READING = ("unit", "normalization", "documents")
_FREE = {"init", "init_scale", "init_out", "init_out_scale", "forget_bias"}
"""Settings of a network that only matter before its first training; dropout is free too."""


@dataclass(frozen=True)
class StartingModel:
    """The model that a training starts from, and the path that it was read from."""

    path: Path
    file: ModelFile

    @classmethod
    def read(cls, path: str | Path) -> StartingModel:
        """Read a run's model or a model file.

        Raises:
            RunError: the folder is not a run folder.
            ModelFileError: the file is missing or damaged.
        """
        place = Path(path)
        return cls(place, read_model(model_file_of(place)))

    @property
    def recipe(self) -> Recipe:
        """The model's own settings: how it reads text, its network and its training, with a lower learning rate.

        Raises:
            ConfigError: the settings in the model's card are not valid.
        """
        file, source = self.file, f"the card of {self.path}"
        card = file.card.get("train") or {}
        known = {spec.name for spec in fields(TrainConfig)} - {*BUDGETS, "max_epochs", "engine", "device"}
        training = {name: value for name, value in dict(card).items() if name in known}
        from_dict(TrainConfig, training, source=source)
        if "learning_rate" in training:
            training["learning_rate"] *= LEARNING_RATE_SHARE
        reading = {name: getattr(file.text_config, name) for name in _READING}
        settings = {**reading, **to_dict(file.model_config), **training, "bias": "single"}
        return Recipe(f"fine-tuning of {self.path}", "the model's settings", str(self.path), settings)

    def check(self, config: ModelConfig) -> None:
        """Refuse another network than the model's.

        Raises:
            ConfigError: a setting of the network differs.
        """
        for spec in fields(ModelConfig):
            asked, own = getattr(config, spec.name), getattr(self.file.model_config, spec.name)
            if asked != own and spec.name not in _FREE and not spec.name.startswith("dropout_"):
                raise ConfigError(
                    f"{spec.name} is {asked} and the model of {self.path} has {own}",
                    why="a training that starts from a model keeps its network",
                    fix=f"leave out --{spec.name.replace('_', '-')}, or --init-from",
                )

    def widened(self, corpus: Corpus) -> Corpus:
        """The corpus with the vocabulary of the model and the text together.

        Raises:
            ConfigError: one reads characters and the other bytes.
        """
        vocab = _joined(self.file.vocab, corpus.vocab, self.path)
        if vocab == corpus.vocab:
            return corpus
        notes = (*corpus.notes, *_notes(self.file.vocab, corpus.vocab))
        return replace(with_vocabulary(corpus, vocab), notes=notes)

    def parameters(self, vocab: Vocabulary) -> dict[str, Array]:
        """The model's parameters, float64, for a vocabulary that has its symbols; new ones get the mean."""
        own, config = self.file.vocab, self.file.model_config
        axes = _vocabulary_axes(config)
        places = positions(own, vocab)
        known = places >= 0  # a boundary of the model that the text does not have is left out
        return {
            name: array.astype(np.float64)
            if axes[name] is None
            else _spread(array, axes[name] or 0, places[known], known, len(vocab))
            for name, array in self.file.parameters.items()
        }

    def to_json(self) -> dict[str, Any]:
        """What a run records about the model that it started from."""
        card: Mapping[str, Any] = self.file.card
        return {"path": str(self.path), "corpus": card.get("corpus"), "step": card.get("step")}


def start_again(run: Run, config: Mapping[str, Any]) -> StartingModel | None:
    """The model that a run starts from again if it was stopped before its first checkpoint; None = its checkpoint will do.

    Raises:
        RunError: the run branches off another, whose checkpoint it has not got.
        CharloomError: the model that it started from cannot be read any more.
    """
    if not {"init_from", "branched_from"} & config.keys() or run.newest_checkpoint()[0] is not None:
        return None
    if "branched_from" in config:
        what, why = f"{run.path} has no checkpoint", "it was stopped while it branched off, or lost it later"
        parent = config["branched_from"].get("path")
        raise RunError(what, why=why, fix=f"remove it, and branch off {parent} again with --resume {parent}")
    return StartingModel.read(config["init_from"]["path"])


def _joined(own: Vocabulary, other: Vocabulary, path: Path) -> Vocabulary:
    if own.unit != other.unit:
        raise ConfigError(
            f"unit is {other.unit} and the model of {path} reads {own.unit}s",
            why="its vocabulary cannot be joined with that of the text",
            fix=f"use --unit {own.unit}, or leave out --init-from",
        )
    specials = {*own.specials, *other.specials} - ({BOUNDARY} - {*other.specials})
    symbols = tuple(sorted({*own.symbols, *other.symbols}))
    return Vocabulary(own.unit, symbols, tuple(name for name in SPECIALS if name in specials))


def _notes(own: Vocabulary, other: Vocabulary) -> tuple[str, ...]:
    new = sorted({*other.symbols} - {*own.symbols})
    if not new or own.unit == "byte":
        return ()
    some = " ".join(repr(chr(code)) for code in new[:5]) + (" …" if len(new) > 5 else "")
    return (f"{len(new)} characters of the text are new to the model: {some}",)


def _vocabulary_axes(config: ModelConfig) -> dict[str, int | None]:
    """The axis of each parameter that has one entry per symbol, if any."""
    small, large = (parameter_shapes(config, size) for size in (2, 3))
    return {
        name: next((axis for axis, size in enumerate(shape) if size != large[name][axis]), None)
        for name, shape in small.items()
    }


def _spread(array: Array, axis: int, places: Array, known: Array, size: int) -> Array:
    """Move the entries of an axis to their places on a longer one, and fill the rest with their mean."""
    entries = np.moveaxis(array.astype(np.float64), axis, 0)[known]
    spread = np.repeat(entries.mean(axis=0, keepdims=True), size, axis=0)
    spread[places] = entries
    return np.ascontiguousarray(np.moveaxis(spread, 0, axis))
