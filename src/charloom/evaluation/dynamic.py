"""Dynamic evaluation: the model keeps training on the text it scores, each window first scored and then trained on.

Source: Mikolov et al. (2010), "Recurrent neural network based language model"; Krause et al. (2018), "Dynamic
evaluation of neural sequence models". Plain SGD as in the former; learning rate and window are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from charloom.config import ModelConfig, TrainConfig, from_dict, without_dropout
from charloom.engines import load_engine
from charloom.evaluation.protocols import Score, dynamic_loss
from charloom.text.batching import Plan, fit_batch

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
"""Training settings during scoring, unless overridden."""

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
    on_progress: Callable[[float], None] | None = None,
) -> Score:
    """Score a text while training on it; `parameters` is not changed, and dropout is off.

    `settings` are fields of `TrainConfig` that override `LEARNING`; `boundary_id` is the symbol that begins a document;
    `on_progress` is called with the share of the text read.

    Raises:
        ConfigError: a setting is unknown, or the combination is invalid.
        DataError: the text is too short to score.
    """
    requested = from_dict(TrainConfig, {**LEARNING, **(settings or {}), **_ONE_PASS}, source="eval")
    config, _ = fit_batch(len(ids), requested)
    learner = load_engine(engine).learner(parameters, without_dropout(model_config), config, device=device)
    plan = Plan(ids, config, boundary_id=boundary_id)
    return dynamic_loss(learner, plan, on_progress=on_progress)
