"""Combine trained models into an ensemble."""

from __future__ import annotations

from typing import Any

from charloom.api.model import Model, load
from charloom.ensemblefile import combined, members_of
from charloom.modelfile import ModelFile
from charloom.run_corpus import Source


def ensemble(*models: Source | Model) -> Model:
    """Combine models into one whose probabilities are the mean of theirs; `Model.save` writes it as one file.

    Args:
        *models: run folders, model files or models, two or more, with the same vocabulary; of an ensemble, its members.

    Returns:
        The ensemble, which samples, evaluates and scores like any model. What needs a single network, such as `inspect`
        and exports, is refused.

    Raises:
        ConfigError: they are too few or too many, or differ in their vocabulary or in how they read text.
        ModelFileError: a file is missing or damaged.
    """
    loaded = [model if isinstance(model, Model) else load(model) for model in models]
    files = [member for model in loaded for member in members_of(model.file)]
    corpora = [file.card.get("corpus", {}) for file in files]
    card: dict[str, Any] = {"made_by": "ensemble", "members": [_named(file) for file in files]}
    same = bool(corpora) and all(corpus and corpus == corpora[0] for corpus in corpora)
    if same:
        card["corpus"] = corpora[0]
    if files and "sample" in files[0].card:
        card["sample"] = files[0].card["sample"]
    runs = [model.run for model in loaded if model.run is not None]
    card["runs"] = [str(run.path.absolute()) for run in runs]
    trained_on = next((model.trained_on for model in loaded if model.trained_on is not None), None)
    return Model(combined(files, card), runs[0] if runs and same else None, trained_on=trained_on)


def _named(file: ModelFile) -> dict[str, Any]:
    """What an ensemble's card says about a member."""
    config, results = file.model_config, file.card.get("results", {})
    return {
        "network": f"{config.num_layers} x {config.cell} of {config.hidden_size}, {config.block}",
        "seed": file.card.get("train", {}).get("seed"),
        "val_bits_per_char": results.get("val_bits_per_char"),
    }
