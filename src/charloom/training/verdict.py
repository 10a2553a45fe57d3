"""The judge: one verdict on a run, with its numbers and one piece of advice, for `train`, `inspect` and its page.

The first rule that applies decides:

    overlapping      the held-out text stands in the training text, so its loss says nothing about new text     (1)
    nothing-to-gain  the text has no structure beyond the frequencies of its characters                        (2)
    exploding, vanishing, silent   a fault of the network's memory, if `inspect` measured it                   (3)
    not-learning     a long training has not got below the frequencies of the characters                       (4)
    memorised, overfitting         the held-out loss rose again after its best, and training text costs less   (5)
    unstable         both losses rose again after the best: the updates have become too large                  (5)
    too-short        too few steps or passes over the text to tell                                             (6)
    still-improving  held-out and training loss are alike, or the loss still falls                             (7)
    underfitting     they are alike, and a long training has stopped gaining                                   (8)
    well-fitted      training text costs less, and the held-out loss has levelled off at its best              (9)

A flat end of the curve counts as "levelled off" only if the text has been read often: while the learning rate is
annealed to its floor, every curve becomes flat. Each rule compares measured numbers, and no training loss is judged
without a held-out loss beside it. A network that predicts worse than the n-gram or xz is told so with any verdict.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from charloom.training.advice import (
    NO_ADVICE,
    Advice,
    calmer,
    larger_model,
    longer,
    more_text,
    other_held_out_text,
    smaller_steps,
    stronger_regularisation,
)
from charloom.training.facts import Facts

COPIED = 0.15
"""Share of the held-out text inside verbatim copies above which its loss is not that of new text.

Source code repeats itself by nature: 7 % of the last tenth of Python's own library."""

NO_STRUCTURE = 0.015
"""Relative distance to the order-0 loss within which a loss counts as equal to it."""

MEMORISED_GAP = 1.0
"""Nats between training and held-out loss above which, together with `MEMORISED_SHARE`, the text is memorised."""

MEMORISED_SHARE = 0.5
"""Training loss as a share of the held-out loss below which, together with `MEMORISED_GAP`, the text is memorised."""

MEMORISED_PART = 0.2
"""Share of the validations that must show memorised text in a run that blew up later and ended with other losses."""

OVERFITTED = 0.02
"""Nats by which the last validation loss may exceed the best before the run counts as overfitting."""

OVERFITTED_GAP = 0.1
"""Nats between training and held-out loss below which a rise is noise: a network that overfits knows its own text."""

WIDE_GAP = 0.15
"""The gap as a share of the held-out loss above which a network that learns little else overfits."""

UNSTABLE, LAST_VALIDATIONS = 0.05, 3
"""Nats by which the training loss of each of the last validations exceeds that around the best step if training blew up.

The mean over a twentieth of a run varies by 0.03 nats and more, so one validation alone does not tell."""

BEST_WELL_BEFORE_END = 0.85
"""Share of the run by which the best validation must have passed: after it, each further validation was worse."""

FEW_STEPS, FEW_PASSES = 200, 2.0
"""Fewer updates, or passes over the text, show the beginning of a training and not what it leads to."""

ANNEALED = 0.2
"""Learning rate as a share of its peak up to which a flat curve shows the schedule and not the network."""

ENOUGH_PASSES = 10.0
"""Passes after which a network that knows its training text no better than new text is limited by its size."""

STILL_IMPROVING = 0.02
"""Relative fall of the validation loss in the last fifth of the run above which more training is worthwhile."""

IMPROVING_HALF = 0.03
"""The same for the second half of a run in which what is learnt carries over to new text."""

UNDERFITTED_GAP = 0.05
"""Nats between training and held-out loss below which the two count as alike."""

MOST_WASTED = 0.5
"""Nats learnt of the training text alone for each nat learnt of new text, below which a wider gap is not overfitting.

Held-out text that differs from the training text has a gap from the beginning; overfitting makes it grow."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """One conclusion.

    Attributes:
        kind: one of the kinds above, healthy (of a network's memory), or diverged.
        says: a sentence that contains the measured number.
        number: the measured number; the rule compares it with `threshold`.
        threshold: where the rule changes its mind.
        advice: one action to take, and why.
        figure: the result that the advice improves: val_loss_nats, overlap or memory_horizon_chars; None if nothing
            is left to improve.
        settings: settings to change in a new training.
        more_steps: updates by which to resume the run; 0 = no resuming.
        text: "more" for more training text, "other" for another held-out text, or "".
    """

    kind: str
    says: str
    number: float
    threshold: float
    advice: str
    figure: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    more_steps: int = 0
    text: str = ""


def judge(facts: Facts | None, memory: Verdict | None = None) -> tuple[Verdict, ...]:
    """Judge a run and, if it was measured, the network's memory.

    Args:
        facts: the run; None for a model without a record of its training.
        memory: the finding on the gradients, with its advice: exploding, vanishing, silent or healthy.

    Returns:
        One verdict; none if nothing was held out and nothing measured.
    """
    ill = memory is not None and memory.kind != "healthy"
    if facts is None or facts.val_loss is None:
        return () if memory is None else (memory,)
    if not facts.history:  # a model from elsewhere
        verdict = _memorised(facts)
        return tuple(one for one in (verdict, memory) if one is not None)[:1]
    for rule in (_overlapping, _nothing_to_gain):
        if (verdict := rule(facts)) is not None:
            return (verdict,)
    if ill and memory is not None and _memorised(facts) is None:
        return (memory,)
    for rule in (
        _not_learning,
        _memorised,
        _unstable,
        _overfitted,
        _too_short,
        _still_improving,
        _underfitted,
    ):
        if (verdict := rule(facts)) is not None:
            return (replace(verdict, says=verdict.says + _baselines(facts)),)
    verdict = _well_fitted(facts)
    return (replace(verdict, says=verdict.says + _baselines(facts)),)


def diverged_verdict(step: int) -> Verdict:
    """The verdict on a run whose loss or gradient was not finite."""
    says = f"the loss or a gradient was not finite at step {step}"
    return Verdict("diverged", says, step, 0, "halve --learning-rate, or set --clip-norm 1")


def is_memorised(train_loss: float, held_out_loss: float) -> bool:
    """Whether training text costs so much less than held-out text, in nats, that it is known by heart."""
    return held_out_loss - train_loss > MEMORISED_GAP and train_loss < MEMORISED_SHARE * held_out_loss


def _verdict(kind: str, says: str, number: float, threshold: float, advice: Advice) -> Verdict:
    return Verdict(
        kind,
        says,
        number,
        threshold,
        advice.says,
        figure=advice.figure,
        settings=dict(advice.settings),
        more_steps=advice.more_steps,
        text=advice.text,
    )


def _overlapping(facts: Facts) -> Verdict | None:
    """Rule (1)."""
    if facts.overlap < COPIED:
        return None
    says = (
        f"the held-out loss is not trustworthy: {_percent(facts.overlap)} of the held-out characters are in passages that "
        "occur word for word in the training text"
    )
    if facts.repeats_from is not None:
        says += f"; from character {facts.repeats_from:,} on, the text repeats what precedes it"
    return _verdict("overlapping", says, facts.overlap, COPIED, other_held_out_text(facts))


def _nothing_to_gain(facts: Facts) -> Verdict | None:
    """Rule (2): neither the network, nor the n-gram, nor xz finds more than the frequencies of the characters."""
    loss, order0 = facts.val_loss, facts.order0_loss
    if loss is None or order0 is None or facts.ngram_loss is None:
        return None
    room = max(NO_STRUCTURE * order0, 2 * (facts.standard_error or 0.0))
    structured = facts.ngram_loss < order0 * (1 - NO_STRUCTURE) or (facts.xz_loss or math.inf) < order0
    if structured or loss < order0 - room or loss > order0 + room:
        return None
    bits = partial(_bits, unit=facts.unit)
    says = (
        f"there is nothing to gain: the model needs {bits(loss)}, the frequencies of the characters alone "
        f"{bits(order0)}, and the n-gram {bits(facts.ngram_loss)}: what precedes a character does not help to predict it"
    )
    return _verdict("nothing-to-gain", says, loss - order0, room, NO_ADVICE)


def _not_learning(facts: Facts) -> Verdict | None:
    """Rule (4)."""
    loss, order0 = facts.val_loss, facts.order0_loss
    if loss is None or order0 is None:
        return None
    stuck = (
        facts.last_step >= FEW_STEPS and facts.train_loss > order0 and facts.fall_since(0.5) < STILL_IMPROVING
    )
    if not stuck and not (loss > facts.uniform_loss and facts.last_step >= FEW_STEPS // 10):
        return None
    says = (
        f"after {facts.last_step:,} steps the model needs {_bits(loss, unit=facts.unit)}, more than the frequencies "
        f"of the characters alone ({_bits(order0, unit=facts.unit)}): the updates are too large to learn from"
    )
    return _verdict("not-learning", says, loss, order0, smaller_steps(facts))


def _unstable(facts: Facts) -> Verdict | None:
    """Rule (5), where the network has lost what it knew of its training text, too.

    A validation's training loss is the mean since the one before, so the loss at the best step is between two of them.
    """
    best_step = _best(facts)
    steps = [step for step, _ in facts.history]
    around, last = facts.train_history[steps.index(best_step) :][:2], facts.train_history[-LAST_VALIDATIONS:]
    if not around or not _rose_again(facts) or min(last) - min(around) <= UNSTABLE:
        return None
    then = min(around)
    says = (
        f"training has become unstable: since step {best_step:,} of {facts.last_step:,}, whose model is kept, the loss of "
        f"the training text has risen from {then:.2f} to {last[-1]:.2f} nats and that of the held-out text by {facts.rise:.2f}"
    )
    return _verdict("unstable", says, min(last) - then, UNSTABLE, calmer(facts))


def _overfitted(facts: Facts) -> Verdict | None:
    """Rule (5), where the network goes on to learn its training text."""
    best_step, end = _best(facts), facts.last_train_loss
    gap = max(facts.gap, -math.inf if end is None else facts.history[-1][1] - end)
    if not (_rose_again(facts) and gap > OVERFITTED_GAP):
        return None
    says = (
        f"the held-out loss has risen by {facts.rise:.3f} nats since step {best_step:,} of {facts.last_step:,}, whose "
        f"model is kept, and ended {gap:.2f} nats above the training loss"
    )
    return _verdict("overfitting", says, facts.rise, OVERFITTED, stronger_regularisation(facts, best_step))


def _best(facts: Facts) -> int:
    """The first step at which the held-out loss was lowest."""
    return min(facts.history, key=lambda point: (point[1], point[0]))[0]


def _rose_again(facts: Facts) -> bool:
    """Whether the held-out loss has risen since its best, well before the end, by more than noise."""
    best_step = _best(facts)
    later = sum(step > best_step for step, _ in facts.history)
    return best_step <= BEST_WELL_BEFORE_END * facts.last_step and later > 1 and facts.rise > OVERFITTED


def _memorised(facts: Facts) -> Verdict | None:
    """Rule (5), for the model that is kept, the one at the end of the run, or those before it blew up."""
    assert facts.val_loss is not None
    best_step = _best(facts) if facts.history else facts.last_step
    last = facts.history[-1][1] if facts.history else math.nan
    end = math.inf if facts.last_train_loss is None else facts.last_train_loss
    course = zip(facts.history, facts.train_history, strict=False)
    known = [(step, train, loss) for (step, loss), train in course if is_memorised(train, loss)]
    if is_memorised(facts.train_loss, facts.val_loss):
        gap = facts.gap
        says = f"training text costs {facts.train_loss:.2f} nats and held-out text {facts.val_loss:.2f}"
    elif is_memorised(end, last):
        gap = last - end
        says = (
            f"at the end of the run training text cost {end:.2f} nats and held-out text {last:.2f}; "
            f"the model of step {best_step:,}, from before that, is kept"
        )
    elif known and len(known) >= MEMORISED_PART * len(facts.history):
        step, train, loss = known[-1]
        gap = loss - train
        says = (
            f"at step {step:,} training text cost {train:.2f} nats and held-out text {loss:.2f}, and later the run "
            f"lost what it had learnt; the model of step {best_step:,} is kept"
        )
    else:
        return None
    return _verdict("memorised", says, gap, MEMORISED_GAP, stronger_regularisation(facts, best_step))


def _too_short(facts: Facts) -> Verdict | None:
    """Rule (6)."""
    if facts.last_step >= FEW_STEPS and facts.passes >= FEW_PASSES:
        return None
    says = f"{facts.last_step:,} steps have read {_passes(facts.passes)}{_annealed(facts)}"
    few = facts.passes < FEW_PASSES
    number, threshold = (facts.passes, FEW_PASSES) if few else (facts.last_step, FEW_STEPS)
    return _verdict("too-short", says, number, threshold, longer(facts))


def _still_improving(facts: Facts) -> Verdict | None:
    """Rule (7)."""
    late, half = facts.fall_since(0.8), facts.fall_since(0.5)
    if facts.stopped_early:
        return None
    if STILL_IMPROVING < late < math.inf:
        says = f"the held-out loss fell by {100 * late:.1f} % in the last fifth of the run"
        return _verdict("still-improving", says, late, STILL_IMPROVING, longer(facts))
    early = facts.passes < ENOUGH_PASSES and (_carries_over(facts) or facts.wasted < 1)
    if not early and not (_carries_over(facts) and IMPROVING_HALF < half < math.inf):
        return None
    says = (
        f"the network has read {_passes(facts.passes)}, the held-out loss is {facts.gap:+.3f} nats from the training "
        f"loss and has not risen, so there is more to learn{_annealed(facts)}"
    )
    number, threshold = (facts.passes, ENOUGH_PASSES) if early else (half, IMPROVING_HALF)
    return _verdict("still-improving", says, number, threshold, longer(facts))


def _carries_over(facts: Facts) -> bool:
    """Whether what the network learns of its training text is as good on new text, so that it could learn more."""
    return facts.gap < UNDERFITTED_GAP or facts.wasted < MOST_WASTED


def _underfitted(facts: Facts) -> Verdict | None:
    """Rule (8)."""
    if not _carries_over(facts):
        return None
    says = (
        f"after reading {_passes(facts.passes)} the network knows its training text hardly better than new text "
        f"({facts.gap:+.3f} nats), and the loss has stopped falling: it is too small for this text"
    )
    return _verdict("underfitting", says, facts.gap, UNDERFITTED_GAP, larger_model(facts))


def _well_fitted(facts: Facts) -> Verdict:
    """Rule (9), or (5) if most of what was learnt lately was the training text itself."""
    assert facts.val_loss is not None
    wide = WIDE_GAP * facts.val_loss
    if facts.gap > wide and facts.wasted > 1:
        says = (
            f"the held-out loss is {facts.gap:.2f} nats above the training loss and hardly falls, while the training "
            "loss still does"
        )
        return _verdict("overfitting", says, facts.gap, wide, more_text(facts))
    says = (
        f"the held-out loss is {facts.gap:.2f} nats above the training loss and has levelled off at its best"
    )
    return _verdict("well-fitted", says, facts.gap, UNDERFITTED_GAP, more_text(facts))


def _passes(passes: float) -> str:
    if passes < 1:
        return f"{_percent(passes)} of the text"
    return f"the text {passes:.1f} times"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _annealed(facts: Facts) -> str:
    share = facts.learning_rate_share
    if share > ANNEALED:
        return f", and the learning rate is still at {_percent(share)} of its peak"
    return (
        f"; the learning rate was reduced to {_percent(share)} of its peak, which alone makes the curve flat"
    )


def _baselines(facts: Facts) -> str:
    """What predicts the held-out text better than the network."""
    assert facts.val_loss is not None
    named = {"the n-gram": facts.ngram_loss, "xz": facts.xz_loss}
    better = [
        f"{name} {loss / math.log(2):.3f}"
        for name, loss in named.items()
        if loss is not None and loss < facts.val_loss
    ]
    if not better:
        return ""
    verb = "predicts" if len(better) == 1 else "predict"
    return f"; {' and '.join(better)} {verb} better than the model's {_bits(facts.val_loss, unit=facts.unit)}"


def _bits(loss: float, *, unit: str) -> str:
    return f"{loss / math.log(2):.3f} bits/{unit}"
