"""One system trained from its recipe, step by step under our eyes: every batch's loss, and looks in between.

The same recipe, corpus reader, windows and learner as ``charloom train``; only what is written down differs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom import threads
from charloom.config import ModelConfig, TrainConfig
from charloom.engines import Learner, Model, load_engine
from charloom.modelfile import ModelFile
from charloom.parameters import initial_parameters
from charloom.recipes import find_recipe, resolve
from charloom.recipes.resolve import text_config
from charloom.reproduce.systems import System, corpus_path
from charloom.text import Corpus, read_corpus
from charloom.text.windows import Plan, fit_batch

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array

Look = Callable[["Rehearsal", Learner], None]
"""Called between two stretches; writes what it sees into `Rehearsal.seen`."""

MISTAKES: Mapping[str, Mapping[str, Any]] = {
    "lose_output_bias": {"freeze": "out.bias", "engine": "scratch"},
    "never_begins": {"state_reset_probability": 0.0},
    "train_on_everything": {"val_fraction": 0.0},
    "wrap_targets": {"wrap_targets": True},
}
"""Mistakes that are settings of training; the others concern what is measured or written afterwards."""


@dataclass
class Rehearsal:
    """A training as it went.

    Attributes:
        system: what is repeated.
        corpus: its text.
        model_config: the network.
        train_config: how it trained.
        sample: the recipe's generation settings.
        losses: mean nats of every batch before its update, (S,).
        grad_norms: L2 before clipping, (S,).
        steps_per_epoch: updates that make one pass.
        train_time_s: seconds in updates alone.
        seen: what looks wrote down: step → name → number.
        model: the model after the last update.
        kept: models that a look kept, by their epoch.
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
    model: Model | None = None
    kept: dict[int, Model] = field(default_factory=dict)

    @property
    def trained(self) -> Model:
        """The model after the last update, once there is one."""
        assert self.model is not None
        return self.model

    def epoch_means(self) -> list[tuple[float, float]]:
        """The mean loss of each whole epoch's batches, as the published programs print it: (epoch, nats)."""
        whole = len(self.losses) // self.steps_per_epoch
        means = self.losses[: whole * self.steps_per_epoch].reshape(whole, -1).mean(axis=1)
        return [(epoch + 1.0, float(mean)) for epoch, mean in enumerate(means)]

    def file(self, model: Model) -> ModelFile:
        """A model of this training as a file would hold it."""
        card = {"recipe": self.system.name, "step": len(self.losses), "sample": dict(self.sample)}
        return ModelFile(model.parameters(), self.model_config, self.corpus.config, self.corpus.vocab, card)


def rehearse(
    system: System,
    *,
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
    as_published: bool = False,
    num_steps: int | None = None,
    look_every: int | None = None,
    look: Look | None = None,
    corpus: Corpus | None = None,
) -> Rehearsal:
    """Train a system from its recipe.

    Args:
        system: which.
        seed: of every draw.
        settings: changes to the recipe.
        as_published: switch its mistakes on where they concern training.
        num_steps: stop after this many updates; none = the recipe's budget.
        look_every: steps between two looks.
        look: called after each of them, and after the last step.
        corpus: train on this instead of the system's own.
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
    done = Rehearsal(
        system, corpus, resolved.model_config, replace(config, steps=total, epochs=None), resolved.sample
    )
    done.steps_per_epoch = plan.steps_per_epoch
    _train(done, plan, total, look_every or total, look)
    return done


def _train(done: Rehearsal, plan: Plan, total: int, every: int, look: Look | None) -> None:
    engine = load_engine(done.train_config.engine)
    params = initial_parameters(done.model_config, len(done.corpus.vocab), done.train_config.seed)
    learner = engine.learner(params, done.model_config, done.train_config, device="cpu")
    losses, norms, at = [], [], 0
    with threads.limit(None, blas=None if engine.uses_blas else 1):
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
