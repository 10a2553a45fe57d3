"""The finding on a network's memory: one short sentence with its number, its threshold and advice.

    silent      no gradient at lag 0 in any state                                       (1)  nothing to trace back
    exploding   some lag's gradient ≥ 100 × that of lag 0, or a non-finite one          (2)
    vanishing   1 % of lag 0 is reached within one word: horizon ≤ 6 characters         (3)
    healthy     none of these                                                           (4)

It is one of the facts that `charloom.training.verdict` judges. (2) and (3) depend on the shape of the lag curve, not
on the gradient's size: once a text is memorised, loss and gradients are small at all lags alike.

The threshold of (3) separates the measured cases: networks trained for a while had horizons of nine characters or
more, whatever the cell; with recurrent weights of spectral radius 0.3 it was four or five. A network before
training, or a minGRU in its first hundred steps, may be at the threshold. (2) uses the same two powers of ten as
(3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from charloom.config import ModelConfig
from charloom.insight.gradient_flow import Flow
from charloom.training.verdict import Verdict

VANISHED_WITHIN_CHARS = 6
"""One word and its space, in English and French: a signal that cannot cross it cannot learn from the previous word."""

EXPLODED_FACTOR = 100.0
"""Two powers of ten, as for the horizon: a state that far back outweighs all nearby ones."""

HORIZON = "memory_horizon_chars"


@dataclass(frozen=True, slots=True)
class Evidence:
    """The measurements that the finding is based on.

    Attributes:
        trained: the gradients by lag.
        num_lags: the farthest lag measured.
        model: the network.
        enough_chars: characters of context beyond which more gain under 1 %; None if not measured.
        bptt_length: time steps of the training windows; None if unknown.
        last_step: updates taken, to advise as many more; 0 if unknown.
    """

    trained: Flow
    num_lags: int
    model: ModelConfig
    enough_chars: int | None = None
    bptt_length: int | None = None
    last_step: int = 0


def memory_finding(facts: Evidence) -> Verdict:
    """Apply the rules: the most serious alarm, or healthy."""
    return silent(facts) or exploding(facts) or vanishing(facts) or healthy(facts)


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
        "set --init orthogonal and --clip-norm 1",
        figure="val_loss_nats",
        settings={"init": "orthogonal", "clip_norm": 1.0},
    )


def vanishing(facts: Evidence) -> Verdict | None:
    """Rule (3); a horizon of 0 means that no gradient enters the state, which is rule (1)."""
    horizon = facts.trained.memory_horizon_chars
    if horizon is None or horizon == 0 or horizon > VANISHED_WITHIN_CHARS:
        return None
    return Verdict(
        "vanishing",
        f"the signal falls to 1 % after {_chars(horizon)}, within one word{_windows(facts, horizon)}",
        horizon,
        VANISHED_WITHIN_CHARS,
        figure=HORIZON,
        **_to_remember(facts),
    )


def _to_remember(facts: Evidence) -> dict[str, Any]:
    """Advice for a vanishing signal; the tests follow each and check that the horizon grows."""
    if facts.model.cell == "elman":
        return {"advice": "use a cell with gates: --cell gru", "settings": {"cell": "gru"}}
    if facts.model.cell == "lstm" and facts.model.forget_bias < 1:
        return {"advice": "open its forget gate: --forget-bias 1", "settings": {"forget_bias": 1.0}}
    says = "train longer: its gates have to learn to retain their state"
    return {"advice": says, "more_steps": facts.last_step}


def silent(facts: Evidence) -> Verdict | None:
    """Rule (1): an untrained residual block has an output projection of 0, and a ReLU unit may be permanently off."""
    largest = max((float(decay.grad_norm_by_lag[0]) for decay in facts.trained.arrays), default=0.0)
    if largest != 0:  # also true for nan, which is not silent
        return None
    says = "the gradient in every state is 0 at lag 0: no loss reaches the recurrent state"
    if facts.model.cell == "elman" and facts.model.activation == "relu":
        advice, settings = "its units are off: use --activation tanh", {"activation": "tanh"}
        return Verdict("silent", says, 0.0, 0.0, advice, figure="val_loss_nats", settings=settings)
    return Verdict("silent", says, 0.0, 0.0, "train it first", more_steps=facts.last_step)


def healthy(facts: Evidence) -> Verdict:
    """Rule (4), with the measurements that the alarms compare."""
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
