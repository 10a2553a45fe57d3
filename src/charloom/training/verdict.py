"""The verdicts at the end of a run: a conclusion, the number and threshold it rests on, and one piece of advice.

Every rule compares two measured numbers. Overfitting and memorisation are judged against held-out text, never by the
training loss alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STILL_IMPROVING = 0.02
"""Relative fall of the validation loss in the last fifth of the run above which more training is worthwhile."""

OVERFITTED = 0.02
"""Nats by which the last validation loss may exceed the best before the run counts as overfitting."""

MEMORISED_GAP = 1.0
"""Nats between training and held-out loss above which, together with `MEMORISED_SHARE`, the text is memorised."""

MEMORISED_SHARE = 0.5
"""Training loss as a share of the held-out loss below which, together with `MEMORISED_GAP`, the text is memorised."""

UNDERFITTED_GAP = 0.05
"""Nats between training and held-out loss below which a model that has stopped improving is too small for the text."""

LITTLE_TEXT = 20_000
"""Characters of training text below which results on the held-out part are noisy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One conclusion about a run.

    Attributes:
        kind: still-improving, well-fitted, overfitting, memorised, underfitting, diverged, too-little-text or
            worse-than-ngram.
        says: a sentence that contains the measured number.
        number: the measured number; the rule compares it with `threshold`.
        advice: one action to take.
    """

    kind: str
    says: str
    number: float
    threshold: float
    advice: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The measurements that the verdicts are based on; losses in nats per character.

    Attributes:
        history: (step, validation loss), in order.
        train_loss: the kept model on training text, dropout off; inf if not measured.
        val_loss: the kept model on the validation part; None without one.
        ngram_loss: the primed n-gram on the validation part; None without one.
        train_chars: length of the training part.
        stopped_early: whether patience ran out.
        unit: the unit of one prediction, char or byte.
    """

    history: tuple[tuple[int, float], ...]
    last_step: int
    train_loss: float
    val_loss: float | None
    ngram_loss: float | None
    train_chars: int
    stopped_early: bool = False
    unit: str = "char"


def judge_training(facts: Outcome) -> tuple[Verdict, ...]:
    """Draw the verdicts: first on the fit, then on the baseline and the amount of text.

    Example:
        >>> judge_training(Outcome(((50, 2.0), (100, 2.0)), 100, 1.9, 2.0, 2.5, 10**6))[0].kind
        'well-fitted'
    """
    verdicts = []
    if facts.val_loss is not None and facts.history:
        verdicts.append(_fit(facts, facts.val_loss))
        if facts.ngram_loss is not None and facts.val_loss > facts.ngram_loss:
            verdicts.append(_worse_than_ngram(facts.val_loss, facts.ngram_loss, facts.unit))
    if facts.train_chars < LITTLE_TEXT:
        says = f"only {facts.train_chars:,} characters of training text"
        advice = "add more text of the same kind: nothing else helps as much"
        verdicts.append(Verdict("too-little-text", says, facts.train_chars, LITTLE_TEXT, advice))
    return tuple(verdicts)


def diverged_verdict(step: int) -> Verdict:
    """The verdict on a run whose loss or gradient was not finite."""
    says = f"the loss or a gradient was not finite at step {step}"
    return Verdict("diverged", says, step, 0, "halve --learning-rate, or set --clip-norm 1")


def _fit(facts: Outcome, val_loss: float) -> Verdict:
    gap = val_loss - facts.train_loss
    best_step, best = min(facts.history, key=lambda point: (point[1], point[0]))
    rise = facts.history[-1][1] - best
    gain = _late_gain(facts)
    if gap > MEMORISED_GAP and facts.train_loss < MEMORISED_SHARE * val_loss:
        says = f"the loss is {facts.train_loss:.2f} nats on training text and {val_loss:.2f} on held-out text"
        advice = "use a smaller model, more dropout or more text"
        return Verdict("memorised", says, gap, MEMORISED_GAP, advice)
    if rise > OVERFITTED:
        says = (
            f"the validation loss has risen by {rise:.3f} nats since step {best_step:,}, whose model is kept"
        )
        advice = "train for fewer steps, or raise --dropout-output and --dropout-branch"
        return Verdict("overfitting", says, rise, OVERFITTED, advice)
    if gain > STILL_IMPROVING and not facts.stopped_early:
        says = f"the validation loss fell by {100 * gain:.1f} % in the last fifth of the run"
        advice = "train longer: double --minutes or --steps"
        return Verdict("still-improving", says, gain, STILL_IMPROVING, advice)
    if gap < UNDERFITTED_GAP:
        says = (
            f"the held-out loss is hardly above the training loss ({gap:+.3f} nats) and has stopped falling"
        )
        advice = "use a larger model: raise --hidden-size or --num-layers"
        return Verdict("underfitting", says, gap, UNDERFITTED_GAP, advice)
    says = f"the held-out loss is {gap:.2f} nats above the training loss and has levelled off"
    advice = "to improve further, add more text, or use a larger model with more dropout"
    return Verdict("well-fitted", says, gap, UNDERFITTED_GAP, advice)


def _late_gain(facts: Outcome) -> float:
    """Relative fall of the best validation loss over the last fifth of the run."""
    early = [loss for step, loss in facts.history if step <= 0.8 * facts.last_step]
    best = min(loss for _, loss in facts.history)
    return 1 - best / min(early) if early and min(early) > 0 else 0.0


def _worse_than_ngram(val_loss: float, ngram_loss: float, unit: str) -> Verdict:
    bits, ngram = val_loss / math.log(2), ngram_loss / math.log(2)
    says = f"the model reaches {bits:.3f} bits/{unit}, but the n-gram reaches {ngram:.3f} on the same text"
    advice = "train longer, or add more text: so far, counting n-grams predicts better than this network"
    return Verdict("worse-than-ngram", says, bits, ngram, advice)
