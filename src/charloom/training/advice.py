"""What to do next, as a change that a command can make: further steps, other settings, or another text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from charloom.config import DECOUPLED_DECAY, ModelConfig
from charloom.training.facts import Facts

LONGER_STEPS, LONGER_PASSES = 400, 4.0
"""Length of the training to aim for after one that was too short to tell; otherwise it is doubled."""

LONGER_S = 120.0
"""Seconds of updates that the advice may add to a run that took less."""

MORE_DROPOUT, SECOND_DROPOUT = 0.3, 0.2
"""How much dropout is raised before the output layer, and at a second place."""

MOST_DROPOUT = 0.4
"""Dropout that is raised no further."""

EARLY = 1 / 3
"""Share of the run before which the best validation shows strong overfitting."""

LITTLE_TEXT = 10_000
"""Characters of training text below which more dropout moves the loss by less than its standard error: text is lacking."""

LARGEST_WIDTH = 1024
FEWEST_CHARS = 2_000
"""A text cut before its repetitions must still be long enough to be split."""


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice; `figure`, `settings`, `more_steps` and `text` as in `charloom.training.verdict.Verdict`."""

    says: str
    figure: str | None = "val_loss_nats"
    settings: Mapping[str, Any] = field(default_factory=dict)
    more_steps: int = 0
    text: str = ""


NO_ADVICE = Advice("stop here: no setting and no further training can improve on this", figure=None)


def longer(facts: Facts) -> Advice:
    """Train longer: resume, or begin again without the patience that would stop at once."""
    total = max(2 * facts.last_step, LONGER_STEPS)
    if facts.passes > 0:
        total = max(total, round(LONGER_PASSES * facts.last_step / facts.passes))
    step_s = facts.train_time_s / max(1, facts.last_step)
    if step_s > 0:
        total = min(total, facts.last_step + max(facts.last_step, int(LONGER_S / step_s)))
    more = _rounded(total - facts.last_step)
    if facts.stopped_early:
        settings = {"patience": None, "steps": facts.last_step + more}
        return Advice(
            f"train longer: {facts.last_step + more:,} steps, without --patience", settings=settings
        )
    return Advice(f"train longer: {more:,} more steps", more_steps=more)


def larger_model(facts: Facts) -> Advice:
    """Widen the network, or deepen a wide one."""
    width = 2 * facts.model.hidden_size
    if width <= LARGEST_WIDTH:
        return Advice(f"use a larger model: --hidden-size {width}", settings={"hidden_size": width})
    layers = facts.model.num_layers + 1
    return Advice(f"use a larger model: --num-layers {layers}", settings={"num_layers": layers})


def stronger_regularisation(facts: Facts, best_step: int) -> Advice:
    """Raise the dropout that the network has: at one place, or two if it overfits early; otherwise, add text.

    Training for fewer steps is no advice: the best model of the run is kept already, and training again to its step
    gave a worse one (docs/explanation/verdicts.md).
    """
    if facts.train_chars < LITTLE_TEXT:
        return more_text(facts)
    raised = {"dropout_output": MORE_DROPOUT}
    name = _second_dropout(facts.model)
    if best_step < EARLY * facts.last_step and name is not None:
        raised[name] = SECOND_DROPOUT
    rates = {name: getattr(facts.model, name) for name in raised}
    settings = {
        name: round(rates[name] + more, 2) for name, more in raised.items() if rates[name] <= MOST_DROPOUT
    }
    if not settings:
        return more_text(facts)
    flags = " ".join(f"--{name.replace('_', '-')} {rate}" for name, rate in settings.items())
    return Advice(f"raise dropout: {flags}", settings=settings)


def _second_dropout(model: ModelConfig) -> str | None:
    """The place of a network's dropout that helps most beside its output, if it has one."""
    if model.block == "residual":
        return "dropout_branch"
    if model.num_layers > 1:
        return "dropout_layer"
    return None if model.embedding_size is None else "dropout_input"


def smaller_steps(facts: Facts) -> Advice:
    """Lower the learning rate."""
    rate = float(f"{facts.training.learning_rate / 10:.2g}")
    return Advice(f"lower the learning rate: --learning-rate {rate:g}", settings={"learning_rate": rate})


def calmer(facts: Facts) -> Advice:
    """Take away what undoes learning: an L2 penalty, which Adam's scaling makes far stronger than a decay; or smaller steps."""
    training = facts.training
    if training.weight_decay > 0 and training.optimizer not in DECOUPLED_DECAY:
        says = f"leave out the L2 penalty, which {training.optimizer} adds to the gradient: --weight-decay 0"
        return Advice(says, settings={"weight_decay": 0.0})
    return smaller_steps(facts)


def more_text(facts: Facts) -> Advice:
    """Add training text; this alone cannot be done by a setting."""
    return Advice(
        f"add more text of the same kind to the {facts.train_chars:,} characters of training text",
        text="more",
    )


def other_held_out_text(facts: Facts) -> Advice:
    """Leave the repetitions out, or hold out a text of one's own."""
    start = facts.repeats_from
    if start is not None and start >= FEWEST_CHARS and not facts.held_out_file:
        return Advice(
            f"leave the repetitions out: --take-chars {start}",
            figure="overlap",
            settings={"take_chars": start},
        )
    if facts.held_out_file:
        says = "validate on a text that is not part of the training text: --val FILE"
    else:
        says = "hold out a text that is not part of the training text: --val FILE"
    return Advice(says, figure="overlap", text="other")


def _rounded(steps: float) -> int:
    """Round up to two significant digits."""
    scale = int(10 ** max(0, len(str(int(steps))) - 2))
    return max(1, -(-int(steps) // scale) * scale)
