"""Verdicts on a model: short sentences, each with a measured number, its threshold and advice.

    memorised   held-out − training loss > 1 nat, and training under half of held-out   (1)  or later in its run
    exploding   some lag's gradient ≥ 100 × that of lag 0, or a non-finite one          (2)
    vanishing   1 % of lag 0 is reached within one word: horizon ≤ 6 characters         (3)
    silent      no gradient at lag 0 in any state                                       (4)  nothing to trace back
    healthy     none of these                                                           (5)

(1) compares held-out with training text: a small training loss alone is not a fault. A run keeps its best model by
validation, possibly from before it memorised its text, so the rule is also applied to the run's record
(`training_curve`). (2) and (3) depend on the shape of the lag curve, not on the gradient's size: once a text is
memorised, loss and gradients are small at all lags alike.

The threshold of (3) separates the measured cases: networks trained for a while had horizons of nine characters or
more, whatever the cell; with recurrent weights of spectral radius 0.3 it was four or five. A network before
training, or a minGRU in its first hundred steps, may be at the threshold. (2) uses the same two powers of ten as
(3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charloom.insight.gradient_flow import Flow
from charloom.training.verdict import MEMORISED_GAP, MEMORISED_SHARE, Verdict

VANISHED_WITHIN_CHARS = 6
"""One word and its space, in English and French: a signal that cannot cross it cannot learn from the previous word."""

EXPLODED_FACTOR = 100.0
"""Two powers of ten, as for the horizon: a state that far back outweighs all nearby ones."""

TO_REMEMBER = {
    "elman": "use --cell gru, or --init orthogonal with elman",
    "lstm": "raise --forget-bias to 1 or more",
    "gru": "train longer: its gates have to learn to retain their state",
    "mingru": "train longer, because its gate learns late to retain its state; or use --cell gru",
}
"""Advice for a vanishing signal, by cell; the tests follow each and check that the horizon grows."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """The measurements that verdicts are based on.

    Attributes:
        trained: the gradients by lag.
        num_lags: the farthest lag measured.
        cell: elman, lstm, gru or mingru.
        held_out_nats: loss on held-out text.
        train_nats: loss on training text; None if unavailable, and then the model itself is not judged for memorising.
        enough_chars: characters of context beyond which more gain under 1 %; None if not measured.
        bptt_length: time steps of the training windows; None if unknown.
        run_memorised: first step of the last stage in which the run memorised, and the training and held-out loss at
            its end; None if it never did.
    """

    trained: Flow
    num_lags: int
    cell: str
    held_out_nats: float
    train_nats: float | None
    enough_chars: int | None = None
    bptt_length: int | None = None
    run_memorised: tuple[int, float, float] | None = None


def judge_model(facts: Evidence) -> tuple[Verdict, ...]:
    """Apply the rules: all alarms, the most serious first, or healthy alone."""
    found = [rule(facts) for rule in (memorised, silent, exploding, vanishing)]
    return tuple(verdict for verdict in found if verdict is not None) or (healthy(facts),)


def memorised(facts: Evidence) -> Verdict | None:
    """Rule (1)."""
    horizon = facts.trained.memory_horizon_chars
    carried = f"{facts.num_lags} characters or more" if horizon is None else _chars(horizon)
    meaning = f"small gradients here mean nothing is left to learn; the signal itself reaches back {carried}"
    advice = "use more text; failing that, a smaller model or --dropout-output 0.3"
    if facts.train_nats is not None:
        gap = facts.held_out_nats - facts.train_nats
        if gap > MEMORISED_GAP and facts.train_nats < MEMORISED_SHARE * facts.held_out_nats:
            says = (
                f"training text costs {facts.train_nats:.2f} nats and held-out text {facts.held_out_nats:.2f}; "
                f"{meaning}"
            )
            return Verdict("memorised", says, gap, MEMORISED_GAP, advice)
    if facts.run_memorised is None:
        return None
    step, train, held_out = facts.run_memorised
    says = (
        f"the run memorised its text from step {step:,} on: at the end training text cost {train:.2f} nats and "
        f"held-out text {held_out:.2f}, but the model kept is from before that; {meaning}"
    )
    return Verdict("memorised", says, held_out - train, MEMORISED_GAP, advice)


def exploding(facts: Evidence) -> Verdict | None:
    """Rule (2), for the array whose gradient grows most."""
    factor, lag = max((_growth(decay.grad_norm_by_lag) for decay in facts.trained.arrays), default=(0.0, 0))
    if factor < EXPLODED_FACTOR:
        return None
    return Verdict(
        "exploding",
        f"the gradient of a loss is {factor:.3g} times as large {lag} characters back as at lag 0",
        factor,
        EXPLODED_FACTOR,
        "set --init orthogonal and --clip-norm 1" + (", or use --cell gru" if facts.cell == "elman" else ""),
    )


def vanishing(facts: Evidence) -> Verdict | None:
    """Rule (3); a horizon of 0 means that no gradient enters the state, which is rule (4)."""
    horizon = facts.trained.memory_horizon_chars
    if horizon is None or horizon == 0 or horizon > VANISHED_WITHIN_CHARS:
        return None
    return Verdict(
        "vanishing",
        f"the signal falls to 1 % after {_chars(horizon)}, within one word{_windows(facts, horizon)}",
        horizon,
        VANISHED_WITHIN_CHARS,
        TO_REMEMBER[facts.cell],
    )


def silent(facts: Evidence) -> Verdict | None:
    """Rule (4): an untrained residual block has an output projection of 0, and a ReLU unit may be permanently off."""
    largest = max((float(decay.grad_norm_by_lag[0]) for decay in facts.trained.arrays), default=0.0)
    if largest != 0:  # also true for nan, which is not silent
        return None
    return Verdict(
        "silent",
        "the gradient in every state is 0 at lag 0: no loss reaches the recurrent state",
        0.0,
        0.0,
        "train it first; if it is already trained with --activation relu, use tanh: its units are off",
    )


def healthy(facts: Evidence) -> Verdict:
    """Rule (5), with the measurements that the alarms compare."""
    horizon = facts.trained.memory_horizon_chars
    says = f"the signal stays above 1 % at all {facts.num_lags} lags measured"
    if horizon is not None:
        says = f"the signal falls to 1 % after {_chars(horizon)}{_windows(facts, horizon)}"
    if facts.enough_chars is not None:
        says += f"; context beyond {_chars(facts.enough_chars)} improves the loss by less than 1 %"
    return Verdict(
        "healthy",
        says,
        math.inf if horizon is None else horizon,
        VANISHED_WITHIN_CHARS,
        "nothing is wrong with its memory: try more text or a larger model next",
    )


def _growth(by_lag: np.ndarray) -> tuple[float, int]:
    """The largest gradient as a multiple of lag 0's, and its lag; infinite if any is non-finite."""
    bad = np.flatnonzero(~np.isfinite(by_lag))
    if len(bad):
        return math.inf, int(bad[0])
    lag = int(by_lag.argmax())
    return (float(by_lag[lag] / by_lag[0]), lag) if by_lag[0] > 0 else (0.0, 0)


def _windows(facts: Evidence, horizon: int) -> str:
    if facts.bptt_length is None or facts.bptt_length <= horizon:
        return ""
    return f", although training windows of {facts.bptt_length} reach beyond that"


def _chars(count: int) -> str:
    return f"{count} character{'' if count == 1 else 's'}"
