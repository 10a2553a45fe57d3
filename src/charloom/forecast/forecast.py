"""Join text, machine and law into the forecast of one training.

    updates = min(seconds for updates / seconds an update, the most passes that the settings allow)      (1)
    seconds for updates = (1 − SHARE) · (budget − FIXED_S)                                              (2)

FIXED_S is the start of Python and the engine and the end of the final report; SHARE is what validations, samples and the
report read (benchmarks/results/overhead.json).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from charloom.config import ModelConfig, TrainConfig
from charloom.forecast.calibration import Speed, measure_speed
from charloom.forecast.loss_law import Estimate, LossLaw, fitted_law, network_kind
from charloom.forecast.text_facts import MOST_HELD_OUT_CHARS, TextFacts, measure_text
from charloom.parameters import count_parameters
from charloom.recipes import Resolved
from charloom.text import Corpus
from charloom.text.batching import fit_batch
from charloom.training.memory_need import need_of
from charloom.training.state import FEWEST_REPORT_CHARS, REPORT_SHARE
from charloom.training.verdict import COPIED

FIXED_S, SHARE = 3.5, 0.025

PROGRAM_BYTES = {"torch": 290_000_000, "scratch": 75_000_000, "fused": 75_000_000}
"""Resident memory of Python and an engine's libraries, before a training (`python -m benchmarks laws --part memory`)."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a training would come to.

    Attributes:
        resolved: its settings, which `train` takes too, and why.
        speed: of this machine.
        num_params: parameters of the network.
        steps: updates.
        read_chars: characters trained on.
        epochs: passes over the training part.
        wall_s: seconds of the whole command.
        facts: of the text; None if nothing is held out.
        estimate: the loss; None if it cannot be forecast.
        no_estimate: why not; None if it can.
        memory: bytes by part.
        joules: the processor's energy; None if it cannot be read.
        notes: on settings that do not fit the text.
    """

    resolved: Resolved
    speed: Speed
    num_params: int
    steps: int
    read_chars: int
    epochs: float
    wall_s: float
    facts: TextFacts | None
    estimate: Estimate | None
    no_estimate: str | None
    memory: dict[str, int]
    joules: float | None
    notes: tuple[str, ...]


def forecast(
    corpus: Corpus,
    resolved: Resolved,
    *,
    law: LossLaw | None = None,
    measure: Callable[..., Speed] = measure_speed,
    progress: Callable[[str], Callable[[float], None]] = lambda _: lambda _: None,
) -> Forecast:
    """Forecast a training on this machine; takes up to ten seconds for its speed and a few for the text.

    Args:
        corpus: the text.
        resolved: all settings, as `charloom.recipes.set_up.set_up` returns them.
        law: None = the law of this version.
        measure: measures the speed.
        progress: is told what is measured; what it returns is called with the share that is done.
    """
    law = law or fitted_law()
    model, num_chars = resolved.model_config, len(corpus.train)
    config, notes = fit_batch(num_chars, resolved.train_config)
    speed = measure(corpus, model, config, note_share=progress("measuring the speed"))
    steps = planned_steps(config, speed)
    read = _read_chars(config, steps, speed.steps_per_epoch, num_chars)
    progress("measuring the text")
    facts = measure_text(corpus, reported_chars(read))
    kind = network_kind(model)
    reason = _no_estimate(facts, kind, law)
    wall_s = FIXED_S + steps * speed.step_s / (1 - SHARE)
    return Forecast(
        resolved=resolved,
        speed=speed,
        num_params=count_parameters(model, len(corpus.vocab)),
        steps=steps,
        read_chars=read,
        epochs=steps / speed.steps_per_epoch,
        wall_s=wall_s,
        facts=facts,
        estimate=None if facts is None or kind is None or reason else law.estimate(kind, facts, read),
        no_estimate=reason,
        memory=memory_parts(corpus, model, config, speed.threads),
        joules=None if speed.watts is None else speed.watts * wall_s,
        notes=(*resolved.notes, *notes),
    )


def memory_parts(corpus: Corpus, model: ModelConfig, config: TrainConfig, num_threads: int) -> dict[str, int]:
    """The peak memory of a training in bytes, by part; for a GPU, what the machine itself needs beside it."""
    parts = (corpus.train, corpus.validation, corpus.test)
    return {
        "program": PROGRAM_BYTES["torch" if config.engine == "auto" else config.engine],
        "corpus": sum(ids.nbytes for ids in parts if ids is not None),
        **need_of(corpus, model, config, num_threads).parts,
    }


def reported_chars(read_chars: float) -> int:
    """Held-out characters that the report of a training measures which reads so many."""
    return min(MOST_HELD_OUT_CHARS, max(FEWEST_REPORT_CHARS, int(REPORT_SHARE * read_chars)))


def planned_steps(config: TrainConfig, speed: Speed) -> int:
    """Updates that a budget allows at this speed (1), at least one."""
    if config.steps is not None:
        return config.steps
    if config.minutes is None:
        return max(1, round((config.epochs or 1.0) * speed.steps_per_epoch))
    seconds = (1 - SHARE) * (60 * config.minutes - FIXED_S)  # (2)
    steps = int(max(0.0, seconds) / speed.step_s)
    if config.max_epochs is not None:
        steps = min(steps, round(config.max_epochs * speed.steps_per_epoch))
    return max(1, steps)


def _read_chars(config: TrainConfig, steps: int, steps_per_epoch: int, num_chars: int) -> int:
    """Characters of some updates: an epoch's last window may be shorter."""
    full = config.batch_size * config.bptt_length
    return min(steps * full, max(1, round(steps / steps_per_epoch * num_chars)))


def _no_estimate(facts: TextFacts | None, kind: str | None, law: LossLaw) -> str | None:
    if facts is None:
        return "nothing is held out, so there is no loss to forecast"
    if facts.copied >= COPIED:
        return (
            f"{100 * facts.copied:.0f} % of the held-out characters are in passages that occur word for word in the "
            "training text, so the loss says little about new text: hold out another one with --val FILE"
        )
    if kind is None or kind not in law.kinds:
        return "the loss law was measured for the networks of the default table and its recipes, not for this one"
    return None
