"""Dynamic evaluation: the model keeps training on the text it scores, each window first scored and then trained on.

Of an ensemble, every member trains on its own loss, and what is scored is the mean of their probabilities.

Source: Mikolov et al. (2010), "Recurrent neural network based language model"; Krause et al. (2018), "Dynamic
evaluation of neural sequence models". Plain SGD as in the former; learning rate and window are our choice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from charloom.config import TrainConfig, from_dict, without_dropout
from charloom.engines import Learner, Metrics, State, load_engine
from charloom.engines.ensemble import EnsembleModel
from charloom.evaluation.protocols import Learning, Score, dynamic_loss
from charloom.text.batching import Plan, fit_batch

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

    from charloom.modelfile import ModelFile

LEARNING: Mapping[str, Any] = {
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "clip_norm": 1.0,
    "bptt_length": 32,
}
"""Training settings during scoring, unless overridden."""

_ONE_PASS = {
    "batching": "stream",
    "batch_size": 1,
    "stream_offset": "fixed",
    "epochs": 1,
    "schedule": "constant",
}


def dynamic_score(
    members: Sequence[ModelFile],
    ids: Int[Array, " N"],
    *,
    settings: Mapping[str, Any] | None = None,
    engine: str = "auto",
    device: str = "cpu",
    precision: str = "float32",
    boundary_id: int | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_losses: Callable[[Float[Array, "L T"]], None] | None = None,
) -> Score:
    """Score a text while training on it; the networks in `members` are not changed, and dropout is off.

    Args:
        members: one network, or those of an ensemble.
        ids: the text, (N,).
        settings: fields of `TrainConfig`, of those in `charloom.config.DYNAMIC_SETTINGS`, that override `LEARNING`.
        engine: auto, torch, scratch or fused.
        device: auto, cpu, cuda, cuda:N or mps.
        precision: float32, float64 or bfloat16.
        boundary_id: the symbol that begins a document, or None.
        on_progress: called with the share of the text read.
        on_losses: called with the losses of each window, in nats.

    Raises:
        ConfigError: a setting is unknown, or the combination is invalid.
        DataError: the text is too short to score.
    """
    chosen = {**LEARNING, **(settings or {}), **_ONE_PASS, "precision": precision}
    config, _ = fit_batch(len(ids), from_dict(TrainConfig, chosen, source="eval"))
    with_engine = load_engine(engine)
    learners = [
        with_engine.learner(one.parameters, without_dropout(one.model_config), config, device=device)
        for one in members
    ]
    is_one = len(learners) == 1 and on_losses is None
    together: Learning = learners[0] if is_one else LearningEnsemble(learners, on_losses)
    return dynamic_loss(together, Plan(ids, config, boundary_id=boundary_id), on_progress=on_progress)


class LearningEnsemble:
    """Members that train side by side, each on its own loss; the losses reported are those of their mean probabilities.

    The state is the members' states, one after the other, as in `EnsembleModel`.
    """

    def __init__(
        self, members: Sequence[Learner], on_losses: Callable[[Float[Array, "L T"]], None] | None = None
    ) -> None:
        self.members, self._on_losses = tuple(members), on_losses

    def initial_state(self, lanes: range) -> State:
        """The members' states before their first window."""
        return [layer for member in self.members for layer in member.initial_state(lanes)]

    def advance(self, plan: Plan, first_step: int, num_steps: int, state: State) -> tuple[State, Metrics]:
        """Score each window with all members, then let each train on it.

        The gradient norm in the metrics is the largest of the members'.
        """
        losses, norms, chars = np.zeros(num_steps), np.zeros(num_steps), np.zeros(num_steps, np.int64)
        for k in range(num_steps):
            step = first_step + k
            window = plan.window(step, range(plan.num_rows(step)))
            before = EnsembleModel([member.model() for member in self.members])
            found, _ = before.losses(window, state)
            losses[k], chars[k] = np.mean(found, dtype=np.float64), found.size
            if self._on_losses is not None:
                self._on_losses(np.asarray(found))
            after: State = []
            for member, own in zip(self.members, before.split(state), strict=True):
                own, metrics = member.advance(plan, step, 1, own)
                after, norms[k] = after + own, max(norms[k], metrics.grad_norm[0])
            state = after
        return state, Metrics(losses, norms, chars)
