"""Train a system from its recipe, recording every batch's loss and calling a probe at regular steps.

It uses the recipe, corpus reader, windows and learner of ``charloom train``; only the record differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import EngineModel, Learner, load_engine
from charloom.modelfile import ModelFile
from charloom.parameters import initial_parameters
from charloom.recipes import find_recipe, resolve
from charloom.recipes.resolve import text_config
from charloom.reproduce.systems import System, corpus_path
from charloom.text import Corpus, read_corpus
from charloom.text.batching import Plan, fit_batch

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

Probe = Callable[["TrainedSystem", Learner], None]
"""Called between ranges of steps; writes its measurements into `TrainedSystem.seen`."""

MISTAKES: Mapping[str, Mapping[str, Any]] = {
    "lose_output_bias": {"freeze": "out.bias", "engine": "scratch"},
    "never_begins": {"state_reset_probability": 0.0},
    "train_on_everything": {"val_fraction": 0.0},
    "wrap_targets": {"wrap_targets": True},
}
"""Mistakes that are training settings; the others concern measurement or sampling after training."""


@dataclass
class TrainedSystem:
    """A system's training: its settings, its losses and its models.

    Attributes:
        system: the published system.
        corpus: the text it was trained on.
        model_config: the network.
        train_config: the training.
        sample: the recipe's generation settings.
        losses: mean loss of every batch before its update, nats, (S,).
        grad_norms: L2 norms before clipping, (S,).
        steps_per_epoch: updates per pass.
        train_time_s: seconds spent in updates.
        seen: measurements of the probe: step → name → number.
        model: the model after the last update.
        kept: models kept by the probe, by epoch.
    """

    system: System
    corpus: Corpus
    model_config: ModelConfig
    train_config: TrainConfig
    sample: Mapping[str, Any]
    losses: Float[Array, "S"] = field(default_factory=lambda: np.empty(0))
    grad_norms: Float[Array, "S"] = field(default_factory=lambda: np.empty(0))
    steps_per_epoch: int = 1
    train_time_s: float = 0.0
    seen: dict[int, dict[str, float]] = field(default_factory=dict)
    model: EngineModel | None = None
    kept: dict[int, EngineModel] = field(default_factory=dict)

    @property
    def trained(self) -> EngineModel:
        """The model after the last update, once training is over."""
        assert self.model is not None
        return self.model

    def epoch_means(self) -> list[tuple[float, float]]:
        """The mean batch loss of each complete epoch, as the published programs print it: (epoch, nats)."""
        whole = len(self.losses) // self.steps_per_epoch
        means = self.losses[: whole * self.steps_per_epoch].reshape(whole, -1).mean(axis=1)
        return [(epoch + 1.0, float(mean)) for epoch, mean in enumerate(means)]

    def file(self, model: EngineModel) -> ModelFile:
        """A model of this training in the form of a model file."""
        card = {"recipe": self.system.name, "step": len(self.losses), "sample": dict(self.sample)}
        return ModelFile(model.parameters(), self.model_config, self.corpus.config, self.corpus.vocab, card)


def train_system(
    system: System,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    as_published: bool = False,
    num_steps: int | None = None,
    look_every: int | None = None,
    look: Probe | None = None,
    corpus: Corpus | None = None,
) -> TrainedSystem:
    """Train a system from its recipe.

    Args:
        system: the published system.
        seed: seed of every random draw.
        settings: changes to the recipe.
        as_published: make the system's mistakes in training.
        num_steps: stop after this many updates; None = the recipe's budget.
        look_every: steps between two calls of the probe.
        look: the probe, also called after the last step.
        corpus: train on this instead of the system's own corpus.
    """
    recipe = find_recipe(system.name)
    changes: dict[str, Any] = {"seed": seed, **(settings or {})}
    if as_published:
        for mistake in recipe.as_published:
            changes = {**MISTAKES.get(mistake, {}), **changes}
    corpus = read_corpus([corpus_path(system)], text_config(recipe, changes)) if corpus is None else corpus
    resolved = resolve(recipe, changes, num_chars=len(corpus.train))
    config, _ = fit_batch(len(corpus.train), resolved.train_config)
    plan = Plan(corpus.train, config, boundary_id=corpus.vocab.boundary_id)
    total = config.steps if config.steps is not None else round((config.epochs or 1) * plan.steps_per_epoch)
    total = min(total, num_steps) if num_steps is not None else total
    taken = replace(config, steps=total, epochs=None)
    done = TrainedSystem(system, corpus, resolved.model_config, taken, resolved.sample)
    done.steps_per_epoch = plan.steps_per_epoch
    _train(done, plan, total, look_every or total, look)
    return done


def _train(done: TrainedSystem, plan: Plan, total: int, every: int, look: Probe | None) -> None:
    engine = load_engine(done.train_config.engine)
    params = initial_parameters(done.model_config, len(done.corpus.vocab), done.train_config.seed)
    learner = engine.learner(params, done.model_config, done.train_config, device="cpu")
    losses, norms, at = [], [], 0
    with threads.limit():
        state = learner.initial_state(range(plan.batch_size))
        while at < total:
            num_steps = min(every - at % every, total - at)
            began = time.perf_counter()
            state, metrics = learner.advance(plan, at, num_steps, state)
            done.train_time_s += time.perf_counter() - began
            losses.append(metrics.loss)
            norms.append(metrics.grad_norm)
            at += num_steps
            done.losses, done.grad_norms = np.concatenate(losses), np.concatenate(norms)
            if look is not None:
                look(done, learner)
    done.model = learner.model()
