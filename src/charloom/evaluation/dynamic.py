"""A text scored by a model that goes on learning from it: every window is scored first, then learnt from.

Source: Mikolov et al. (2010), "Recurrent neural network based language model"; Krause et al. (2018), "Dynamic evaluation of neural sequence
models". Plain SGD as the former; its rate and window are ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from charloom.config import ModelConfig, TrainConfig, from_dict, without_dropout
from charloom.engines import load_engine
from charloom.evaluation.protocols import Score, dynamic_loss
from charloom.text.windows import Plan, fit_batch

if TYPE_CHECKING:
    from jaxtyping import Int
    from numpy import ndarray as Array

LEARNING: Mapping[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "schedule": "constant",
    "clip_norm": 1.0,
    "bptt_length": 32,
}
"""How a model learns while it is scored, unless settings say otherwise."""

_ONE_PASS = {"batching": "stream", "batch_size": 1, "stream_offset": "fixed", "epochs": 1}


def dynamic_score(
    parameters: Mapping[str, Array],
    model_config: ModelConfig,
    ids: Int[Array, " N"],
    *,
    settings: Mapping[str, Any] | None = None,
    engine: str = "auto",
    device: str = "cpu",
    boundary_id: int | None = None,
) -> Score:
    """Score a text while learning from it; the parameters given stay as they are.

    Args:
        parameters: of the trained model.
        model_config: its network; dropout is left out.
        ids: the text.
        settings: fields of `TrainConfig` over `LEARNING`.
        engine: who learns.
        device: where.
        boundary_id: the symbol that begins a document, or None.

    Raises:
        ConfigError: a setting is none, or the combination is illegal.
        DataError: the text is too short to be scored.
    """
    asked = from_dict(TrainConfig, {**LEARNING, **(settings or {}), **_ONE_PASS}, source="eval")
    config, _ = fit_batch(len(ids), asked)
    learner = load_engine(engine).learner(parameters, without_dropout(model_config), config, device=device)
    return dynamic_loss(learner, Plan(ids, config, boundary_id=boundary_id))
