"""A plain verdict at the end of a run: what the numbers say, by which threshold, and one thing to do.

Every rule is a comparison of two measured numbers. Overfitting and memorisation are judged against held-out text, never by the
training loss alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

STILL_IMPROVING = 0.02
"""Relative gain in validation loss over the last fifth of the run above which more training is worth it."""

OVERFITTED = 0.02
"""Nats by which the last validation may stand above the best before the run counts as overfitting."""

MEMORISED_GAP = 1.0
"""Nats between training and held-out loss above which, together with `MEMORISED_SHARE`, the text was learnt by heart."""

MEMORISED_SHARE = 0.5
"""Training loss as a share of the held-out loss below which it was."""

UNDERFITTED_GAP = 0.05
"""Nats between training and held-out loss under which a model that stopped improving is too small for the text."""

LITTLE_TEXT = 20_000
"""Characters of training text under which figures on the held-out tail are noisy."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One judgement.

    Attributes:
        kind: still-improving, well-fitted, overfitting, memorised, underfitting, diverged, too-little-text or
            worse-than-ngram.
        says: the sentence, with its number.
        number: what was measured.
        threshold: what it was compared with.
        advice: one thing to do.
    """

    kind: str
    says: str
    number: float
    threshold: float
    advice: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What the verdict is drawn from; losses in nats a character.

    Attributes:
        history: (step, validation loss), in order.
        last_step: updates taken.
        train_loss: the kept model on training text, dropout off; inf where nothing was measured.
        val_loss: the kept model on the validation part; None without one.
        ngram_loss: the primed n-gram on it; None without one.
        train_chars: length of the training part.
        stopped_early: patience ran out.
        unit: what a loss is counted by, char or byte.
    """

    history: tuple[tuple[int, float], ...]
    last_step: int
    train_loss: float
    val_loss: float | None
    ngram_loss: float | None
    train_chars: int
    stopped_early: bool = False
    unit: str = "char"


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """Draw the verdicts: how the fit went, then whether the text or the baseline says more.

    Example:
        >>> judge(Facts(((50, 2.0), (100, 2.0)), 100, 1.9, 2.0, 2.5, 10**6))[0].kind
        'well-fitted'
    """
    verdicts = []
    if facts.val_loss is not None and facts.history:
        verdicts.append(_fit(facts, facts.val_loss))
        if facts.ngram_loss is not None and facts.val_loss > facts.ngram_loss:
            verdicts.append(_worse_than_ngram(facts.val_loss, facts.ngram_loss, facts.unit))
    if facts.train_chars < LITTLE_TEXT:
        verdicts.append(
            Verdict(
                "too-little-text",
                f"{facts.train_chars:,} characters of training text",
                facts.train_chars,
                LITTLE_TEXT,
                "add more text of the same kind: nothing else helps as much",
            )
        )
    return tuple(verdicts)


def diverged(step: int) -> Verdict:
    """The verdict of a run that met numbers that are not finite."""
    return Verdict(
        "diverged",
        f"loss or gradient was not finite at step {step}",
        step,
        0,
        "halve --learning-rate, or set --clip-norm 1",
    )


def _fit(facts: Facts, val_loss: float) -> Verdict:
    gap = val_loss - facts.train_loss
    best_step, best = min(facts.history, key=lambda point: (point[1], point[0]))
    rise = facts.history[-1][1] - best
    gain = _late_gain(facts)
    if gap > MEMORISED_GAP and facts.train_loss < MEMORISED_SHARE * val_loss:
        return Verdict(
            "memorised",
            f"training text costs {facts.train_loss:.2f} nats and held-out text {val_loss:.2f}: learnt by heart",
            gap,
            MEMORISED_GAP,
            "use a smaller model, more dropout or more text",
        )
    if rise > OVERFITTED:
        return Verdict(
            "overfitting",
            f"overfitting since step {best_step:,}: validation rose by {rise:.3f} nats from there (that step's model was kept)",
            rise,
            OVERFITTED,
            "train for fewer steps, or raise --dropout-output and --dropout-branch",
        )
    if gain > STILL_IMPROVING and not facts.stopped_early:
        return Verdict(
            "still-improving",
            f"validation loss fell by {100 * gain:.1f} % in the last fifth of the run",
            gain,
            STILL_IMPROVING,
            "train longer: double --minutes or --steps",
        )
    if gap < UNDERFITTED_GAP:
        return Verdict(
            "underfitting",
            f"training and held-out text cost the same ({gap:+.3f} nats apart) and the loss no longer falls",
            gap,
            UNDERFITTED_GAP,
            "use a larger model: raise --hidden-size or --num-layers",
        )
    return Verdict(
        "well-fitted",
        f"held-out text costs {gap:.2f} nats more than training text, and the loss has settled",
        gap,
        UNDERFITTED_GAP,
        "more text, or a larger model with more dropout, would be the next step",
    )


def _late_gain(facts: Facts) -> float:
    """Relative fall of the best validation loss over the last fifth of the run."""
    early = [loss for step, loss in facts.history if step <= 0.8 * facts.last_step]
    best = min(loss for _, loss in facts.history)
    return 1 - best / min(early) if early and min(early) > 0 else 0.0


def _worse_than_ngram(val_loss: float, ngram_loss: float, unit: str) -> Verdict:
    bits, ngram = val_loss / math.log(2), ngram_loss / math.log(2)
    return Verdict(
        "worse-than-ngram",
        f"{bits:.3f} bits/{unit}, and the n-gram reaches {ngram:.3f} on the same text",
        bits,
        ngram,
        "train longer, or give more text: as it stands, counting does better than this network",
    )
