"""From logits to a character: softmax with temperature, three filters, and a draw by inverse-CDF sampling.

    s = logits + bias − ln penalty            (0)  the penalty of recently generated characters, once each
    p = softmax(s / temperature)              (1)  temperature 0 to 1.17e-38: probability 1 on the largest s
    top-k: keep the k likeliest               (2)
    top-p: the smallest set with Σ p ≥ top_p  (3)  of what (2) kept, renormalised
    min-p: keep p ≥ min_p · max p             (4)  of what (3) kept
    id = the first with p_0 + … + p_id > u    (5)  in id order, u uniform in [0, 1)

The order is always (0) to (5), and each filter renormalises what it keeps. Characters are ranked by s, ties
by id: two probabilities may be equal by rounding alone. A filter that cannot remove anything (`top_k` ≥ V, `top_p` = 1, `min_p` = 0) changes no bit. Each row is computed
separately, so no row depends on the others. Shapes: B rows, V characters.

Source: (0) Keskar et al. (2019), equation 4, except that the penalty is subtracted from the logit instead of dividing
it: the sign of a logit has no meaning, and a difference of logits is a ratio of odds. Top-k: Fan, Lewis & Dauphin
(2018); top-p (nucleus): Holtzman et al. (2020); min-p: Nguyen et al. (2024). Programs differ on whether temperature is
applied before or after the filters; here it is applied before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import GREEDY_BELOW
from charloom.errors import DivergedError

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int64
    from numpy import ndarray as Array


def next_distribution(
    logits: Float[Array, "B V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    banned: Bool[Array, " V"] | None = None,
    repetition_penalty: float | None = None,
    recent: Int64[Array, "B W"] | None = None,
    logit_bias: Float[Array, " V"] | None = None,
) -> Float64[Array, "B V"]:
    """Turn logits into the probabilities that the next character is drawn from.

    Args:
        logits: (B, V), any float type; the arithmetic is float64.
        temperature: divides the logits; above 1 bolder, below 1 safer, below `engines.GREEDY_BELOW` greedy (the
            lowest id on ties).
        top_k: how many of the likeliest characters to keep, at least 1; None = all.
        top_p: total probability, in (0, 1], that the kept characters must reach; None = all.
        min_p: share of the largest probability, in [0, 1], that a character needs; None = all.
        banned: ids that are never generated, such as ``<unk>``: their logits are set to −∞ first.
        repetition_penalty: divides the odds of each row's `recent` ids, above 0; None = no penalty.
        recent: the last ids that each row generated or read, padded with −1.
        logit_bias: added to the logits of every row; None = 0.

    Returns:
        (B, V), float64; each row sums to 1.

    Raises:
        DivergedError: a row's largest logit is not finite.

    Example:
        >>> next_distribution(np.log([[0.5, 0.3, 0.2]]), top_k=2).round(3).tolist()
        [[0.625, 0.375, 0.0]]
    """
    scores = np.array(logits, dtype=np.float64, order="C")
    if logit_bias is not None:
        scores += logit_bias
    if banned is not None:
        scores[:, banned] = -np.inf
    if repetition_penalty is not None and recent is not None:
        scores -= np.log(float(repetition_penalty)) * _contains(recent, scores.shape[1])  # (0)
    peak = scores.max(axis=1, keepdims=True)
    _check_finite(peak)
    if temperature < GREEDY_BELOW:
        return _one_hot(scores.argmax(axis=1), scores.shape[1])
    probs = _softmax(scores - peak, temperature)
    if top_k is not None and top_k < probs.shape[1]:
        probs = _renormalised(probs, _top_k(_ranking(scores), top_k))
    if top_p is not None and top_p < 1:
        probs = _renormalised(probs, _top_p(probs, _ranking(scores), top_p))
    if min_p is not None and min_p > 0:
        probs = _renormalised(probs, probs >= min_p * probs.max(axis=1, keepdims=True))  # (4)
    return probs


def log_softmax(logits: Float[Array, "... V"]) -> Float64[Array, "... V"]:
    """The logarithm of (1) at temperature 1, in float64.

    Example:
        >>> log_softmax(np.log([[1.0, 3.0]])).round(3).tolist()  # ln 1/4 and ln 3/4
        [[-1.386, -0.288]]
    """
    shifted = np.asarray(logits, np.float64)
    shifted = shifted - shifted.max(axis=-1, keepdims=True)
    log_probs: Array = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return log_probs


def draw(probs: Float64[Array, "B V"], uniforms: Float64[Array, " B"]) -> Int64[Array, " B"]:
    """Draw one id per row by inverting the cumulative distribution: equation (5).

    Each row of `probs` sums to 1, and `uniforms` are in [0, 1). An id of probability zero is never drawn, even if a
    row's sum falls short of 1 by rounding.

    Example:
        >>> draw(np.array([[0.25, 0.0, 0.75]] * 3), np.array([0.0, 0.25, 0.99])).tolist()
        [0, 2, 2]
    """
    reached = np.cumsum(probs, axis=1) <= uniforms[:, None]
    last_possible = probs.shape[1] - 1 - np.argmax(probs[:, ::-1] > 0, axis=1)
    ids: Int64[Array, " B"] = np.minimum(reached.sum(axis=1), last_possible).astype(np.int64)
    return ids


def _contains(recent: Int64[Array, "B W"], vocab_size: int) -> Bool[Array, "B V"]:
    """Which ids each row contains."""
    marks = np.zeros((len(recent), vocab_size + 1), dtype=bool)
    np.put_along_axis(marks, recent, True, axis=1)  # −1 marks the extra last column
    return marks[:, :vocab_size]


def _check_finite(peak: Float64[Array, "B 1"]) -> None:
    if not np.isfinite(peak).all():
        raise DivergedError(
            f"the largest logit of the next character is {peak[~np.isfinite(peak)][0]}",
            why="only finite logits define a distribution over characters",
            fix="check the model file; if training diverged, use an earlier checkpoint or a lower learning rate",
        )


def _softmax(below_peak: Float64[Array, "B V"], temperature: float) -> Float64[Array, "B V"]:
    """(1), from logits whose largest is 0: exp cannot overflow, and an overflow in the division gives probability 0."""
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp(below_peak / temperature)
    probs: Float64[Array, "B V"] = weights / weights.sum(axis=1, keepdims=True)
    return probs


def _one_hot(ids: Int64[Array, " B"], vocab_size: int) -> Float64[Array, "B V"]:
    probs = np.zeros((len(ids), vocab_size))
    probs[np.arange(len(ids)), ids] = 1.0
    return probs


def _ranking(scores: Float64[Array, "B V"]) -> Int64[Array, "B V"]:
    """The ids of each row by decreasing score, ties by id."""
    return np.argsort(-scores, axis=1, kind="stable")


def _top_k(ranking: Int64[Array, "B V"], k: int) -> Bool[Array, "B V"]:
    """(2): exactly k ids per row."""
    kept = np.zeros(ranking.shape, dtype=bool)
    np.put_along_axis(kept, ranking[:, :k], True, axis=1)
    return kept


def _top_p(probs: Float64[Array, "B V"], ranking: Int64[Array, "B V"], p: float) -> Bool[Array, "B V"]:
    """(3): keep an id if those ranked before it have not reached p; so the first is always kept."""
    reached = np.cumsum(np.take_along_axis(probs, ranking, axis=1), axis=1)
    before = np.concatenate([np.zeros((len(probs), 1)), reached[:, :-1]], axis=1)
    kept = np.zeros(probs.shape, dtype=bool)
    np.put_along_axis(kept, ranking, before < p, axis=1)
    return kept


def _renormalised(probs: Float64[Array, "B V"], kept: Bool[Array, "B V"]) -> Float64[Array, "B V"]:
    """The kept probabilities, divided by their sum; the others are 0."""
    weights = np.where(kept, probs, 0.0)
    result: Float64[Array, "B V"] = weights / weights.sum(axis=1, keepdims=True)
    return result
