"""What the numbers say: short sentences, each with its number, the threshold it was held against, and what to do.

    memorised   held-out − training loss > 1 nat, and training under half of held-out            (1)  of the model, or later in its run
    exploding   some lag's gradient ≥ 100 × that of lag 0, or one that is not finite             (2)
    vanishing   1 % of lag 0 is reached within one word: horizon ≤ 6 characters                  (3)
    silent      no gradient at lag 0 in any state                                                (4)  nothing to follow back
    healthy     none of these                                                                    (5)

(1) holds held-out text against training text: a small training loss alone is no fault. A run keeps its best model by validation, which may
be from before it learnt its text by heart; then the run's record is held to the same rule (`course`). (2) and (3) are drawn from the shape of the lag
curve, never from the gradient's size: where a text is learnt by heart, its loss and with it every gradient is small at all lags alike.

(3) lies between what was measured: in networks trained for a while the horizon was nine characters and more, whatever the cell; with
recurrent weights of spectral radius 0.3 it was four or five. A network before training, or a minGRU in its first hundred steps, may
stand at the threshold. (2) mirrors (3)'s two powers of ten.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charloom.insight.gradient_flow import Flow
from charloom.training.verdict import MEMORISED_GAP, MEMORISED_SHARE, Verdict

VANISHED_WITHIN_CHARS = 6
"""One word with its space, in English and French: what cannot cross it cannot learn from the word before."""

EXPLODED_FACTOR = 100.0
"""Two powers of ten, as the horizon's: a loss so far back outweighs all that is near."""

TO_REMEMBER = {
    "elman": "use --cell gru, or --init orthogonal with elman",
    "lstm": "raise --forget-bias to 1 or more",
    "gru": "train longer: its gates have to learn to keep",
    "mingru": "train longer, for its gate learns late to keep; or use --cell gru",
}
"""What to do about a signal that vanishes, by the cell; the tests follow each and see the horizon grow."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What the verdicts are drawn from.

    Attributes:
        trained: the gradients by lag.
        num_lags: the farthest lag measured.
        cell: elman, lstm, gru or mingru.
        held_out_nats: loss on text that was not learnt.
        train_nats: loss on text that was; None where there is none to compare with, and nothing is said of memorising.
        enough_chars: characters of context after which more gains under 1 %; None if not measured.
        bptt_length: time steps of the windows it learnt from; None if unknown.
        run_memorised: of the last stage in which its run memorised, the first step and the training and held-out loss that it ended
            with; None where it never did.
    """

    trained: Flow
    num_lags: int
    cell: str
    held_out_nats: float
    train_nats: float | None
    enough_chars: int | None = None
    bptt_length: int | None = None
    run_memorised: tuple[int, float, float] | None = None


def judge(facts: Facts) -> tuple[Verdict, ...]:
    """Draw the verdicts, the gravest first; healthy stands alone."""
    found = [rule(facts) for rule in (memorised, silent, exploding, vanishing)]
    alarms = tuple(verdict for verdict in found if verdict is not None)
    return alarms or (healthy(facts),)


def memorised(facts: Facts) -> Verdict | None:
    """Rule (1)."""
    horizon = facts.trained.memory_horizon_chars
    carried = f"{facts.num_lags} characters and more" if horizon is None else _chars(horizon)
    meaning = (
        f"small gradients there mean that nothing is left to learn, the signal itself reaches back {carried}"
    )
    advice = "use more text first; else a smaller model, or --dropout-output 0.3"
    if facts.train_nats is not None:
        gap = facts.held_out_nats - facts.train_nats
        if gap > MEMORISED_GAP and facts.train_nats < MEMORISED_SHARE * facts.held_out_nats:
            says = (
                f"training text costs {facts.train_nats:.2f} nats and held-out text {facts.held_out_nats:.2f}: "
                f"memorised; {meaning}"
            )
            return Verdict("memorised", says, gap, MEMORISED_GAP, advice)
    if facts.run_memorised is None:
        return None
    step, train, held_out = facts.run_memorised
    says = (
        f"from step {step:,} on the run memorised, in the end training text cost {train:.2f} nats and held-out text "
        f"{held_out:.2f}, and the model kept is from before; {meaning}"
    )
    return Verdict("memorised", says, held_out - train, MEMORISED_GAP, advice)


def exploding(facts: Facts) -> Verdict | None:
    """Rule (2), of the array that grows most."""
    factor, lag = max((_growth(decay.grad_norm_by_lag) for decay in facts.trained.arrays), default=(0.0, 0))
    if factor < EXPLODED_FACTOR:
        return None
    return Verdict(
        "exploding",
        f"the gradient of a loss is {factor:.3g} times as large {lag} characters back: exploding",
        factor,
        EXPLODED_FACTOR,
        "set --init orthogonal and --clip-norm 1" + (", or use --cell gru" if facts.cell == "elman" else ""),
    )


def vanishing(facts: Facts) -> Verdict | None:
    """Rule (3); where nothing enters the state, rule (4) has spoken."""
    horizon = facts.trained.memory_horizon_chars
    if horizon is None or horizon == 0 or horizon > VANISHED_WITHIN_CHARS:
        return None
    return Verdict(
        "vanishing",
        f"the signal falls to 1 % after {_chars(horizon)}, within one word: vanishing{_windows(facts, horizon)}",
        horizon,
        VANISHED_WITHIN_CHARS,
        TO_REMEMBER[facts.cell],
    )


def silent(facts: Facts) -> Verdict | None:
    """Rule (4): a residual block before training has its way out shut, and a ReLU unit may be off for good."""
    largest = max((float(decay.grad_norm_by_lag[0]) for decay in facts.trained.arrays), default=0.0)
    if largest != 0:  # nan is no silence
        return None
    return Verdict(
        "silent",
        "the gradient in every state is 0 at lag 0: no loss reaches the recurrence",
        0.0,
        0.0,
        "train it first; if it is trained and has --activation relu, use tanh: its units are off",
    )


def healthy(facts: Facts) -> Verdict:
    """Rule (5): what the alarms looked at, and how far each is away."""
    horizon = facts.trained.memory_horizon_chars
    reach = (
        f"the signal is above 1 % at all {facts.num_lags} lags measured"
        if horizon is None
        else f"the signal falls to 1 % after {_chars(horizon)}{_windows(facts, horizon)}"
    )
    used = (
        ""
        if facts.enough_chars is None
        else f"; more than {_chars(facts.enough_chars)} of context gain it under 1 %"
    )
    return Verdict(
        "healthy",
        f"{reach}{used}",
        math.inf if horizon is None else horizon,
        VANISHED_WITHIN_CHARS,
        "nothing is wrong with its memory: more text or a larger model would be the next step",
    )


def _growth(by_lag: np.ndarray) -> tuple[float, int]:
    """The largest gradient as a multiple of lag 0's, and its lag; infinite where one is not finite."""
    bad = np.flatnonzero(~np.isfinite(by_lag))
    if len(bad):
        return math.inf, int(bad[0])
    lag = int(by_lag.argmax())
    return (float(by_lag[lag] / by_lag[0]), lag) if by_lag[0] > 0 else (0.0, 0)


def _windows(facts: Facts, horizon: int) -> str:
    if facts.bptt_length is None or facts.bptt_length <= horizon:
        return ""
    return f", and its windows of {facts.bptt_length} reach past that"


def _chars(count: int) -> str:
    return f"{count} character{'' if count == 1 else 's'}"
