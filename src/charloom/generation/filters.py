"""From logits to a character: softmax, temperature, three filters, and one inverted draw.

    s = logits − ln penalty                   (0)  of the characters written of late, once each
    p = softmax(s / temperature)              (1)  temperature 0: probability 1 on the largest s
    top-k: the k likeliest stay               (2)
    top-p: the smallest set with Σ p ≥ top_p  (3)  of what (2) left, renormalised
    min-p: p ≥ min_p · max p stays            (4)  of what (3) left
    id = the first with p_0 + … + p_id > u    (5)  in id order, u uniform in [0, 1)

The order is (0) to (5), always; after each filter what stays is renormalised. Characters rank by probability, equal
ones by id. A filter that could remove nothing (`top_k` ≥ V, `top_p` = 1, `min_p` = 0) leaves every bit as it was.
Each row is computed by itself, so no row depends on the others. Shapes: B rows, V characters.

Source: (0) Keskar et al. (2019), equation 4, with the penalty taken off the logit instead of dividing it: a logit's sign means
nothing, a difference of logits is a ratio of odds. Top-k, Fan, Lewis & Dauphin (2018); top-p (nucleus), Holtzman et al. (2020); min-p, Nguyen et al. (2024).
Programs differ on whether the temperature comes before the filters or after them; here it comes first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
) -> Float64[Array, "B V"]:
    """Turn logits into the probabilities that the next character is drawn from.

    Args:
        logits: (B, V), any float type; the arithmetic is float64.
        temperature: divides the logits; above 1 bolder, below 1 safer, 0 greedy (the lowest id on ties).
        top_k: how many of the likeliest characters stay, at least 1; none = all.
        top_p: the probability, in (0, 1], that the likeliest which stay must reach together; none = all.
        min_p: the share, in [0, 1], of the largest probability that a character needs; none = all.
        banned: ids that can never be written, such as ``<unk>``: their logits are −∞ before all else.
        repetition_penalty: divides the odds of each row's `recent` ids, above 0; none = no penalty.
        recent: the ids that each row wrote or read of late, −1 where none.

    Returns:
        (B, V), float64; each row sums to 1.

    Raises:
        DivergedError: a row's largest logit is not finite, so that it defines no distribution.

    Example:
        >>> next_distribution(np.log([[0.5, 0.3, 0.2]]), top_k=2).round(3).tolist()
        [[0.625, 0.375, 0.0]]
    """
    scores = np.array(logits, dtype=np.float64, order="C")
    if banned is not None:
        scores[:, banned] = -np.inf
    if repetition_penalty is not None and recent is not None:
        scores -= np.log(repetition_penalty) * _standing_in(recent, scores.shape[1])  # (0)
    peak = scores.max(axis=1, keepdims=True)
    _check_finite(peak)
    if temperature == 0:
        return _one_hot(scores.argmax(axis=1), scores.shape[1])
    probs = _softmax(scores - peak, temperature)
    if top_k is not None and top_k < probs.shape[1]:
        probs = _renormalised(probs, _top_k(probs, top_k))
    if top_p is not None and top_p < 1:
        probs = _renormalised(probs, _top_p(probs, top_p))
    if min_p is not None and min_p > 0:
        probs = _renormalised(probs, probs >= min_p * probs.max(axis=1, keepdims=True))  # (4)
    return probs


def draw(probs: Float64[Array, "B V"], uniforms: Float64[Array, " B"]) -> Int64[Array, " B"]:
    """Invert the cumulative distribution, in id order: equation (5).

    An id of probability zero is never drawn, not even where the sum of a row falls short of 1 by rounding.

    Args:
        probs: (B, V), each row sums to 1.
        uniforms: (B,), in [0, 1).

    Returns:
        (B,), int64.

    Example:
        >>> draw(np.array([[0.25, 0.0, 0.75]] * 3), np.array([0.0, 0.25, 0.99])).tolist()
        [0, 2, 2]
    """
    reached = np.cumsum(probs, axis=1) <= uniforms[:, None]
    last_possible = probs.shape[1] - 1 - np.argmax(probs[:, ::-1] > 0, axis=1)
    ids: Int64[Array, " B"] = np.minimum(reached.sum(axis=1), last_possible).astype(np.int64)
    return ids


def _standing_in(recent: Int64[Array, "B W"], vocab_size: int) -> Bool[Array, "B V"]:
    """Which ids stand in each row."""
    marks = np.zeros((len(recent), vocab_size + 1), dtype=bool)
    np.put_along_axis(marks, recent, True, axis=1)  # −1 marks the column behind the vocabulary
    return marks[:, :vocab_size]


def _check_finite(peak: Float64[Array, "B 1"]) -> None:
    if not np.isfinite(peak).all():
        raise DivergedError(
            f"the largest logit of the next character is {peak[~np.isfinite(peak)][0]}",
            why="only finite logits define a distribution over characters",
            fix="check the model file; if training diverged, use an earlier checkpoint or a lower learning rate",
        )


def _softmax(below_peak: Float64[Array, "B V"], temperature: float) -> Float64[Array, "B V"]:
    """(1), from logits whose largest is 0: exp cannot overflow, and a quotient that does is a probability of 0."""
    with np.errstate(over="ignore", under="ignore"):
        weights = np.exp(below_peak / temperature)
    probs: Float64[Array, "B V"] = weights / weights.sum(axis=1, keepdims=True)
    return probs


def _one_hot(ids: Int64[Array, " B"], vocab_size: int) -> Float64[Array, "B V"]:
    probs = np.zeros((len(ids), vocab_size))
    probs[np.arange(len(ids)), ids] = 1.0
    return probs


def _ranking(probs: Float64[Array, "B V"]) -> Int64[Array, "B V"]:
    """The ids of each row by falling probability, equal ones by id."""
    return np.argsort(-probs, axis=1, kind="stable")


def _top_k(probs: Float64[Array, "B V"], k: int) -> Bool[Array, "B V"]:
    """(2): exactly k ids a row."""
    kept = np.zeros(probs.shape, dtype=bool)
    np.put_along_axis(kept, _ranking(probs)[:, :k], True, axis=1)
    return kept


def _top_p(probs: Float64[Array, "B V"], p: float) -> Bool[Array, "B V"]:
    """(3): an id stays while those before it have not reached p; so the first always does."""
    ranking = _ranking(probs)
    reached = np.cumsum(np.take_along_axis(probs, ranking, axis=1), axis=1)
    before = np.concatenate([np.zeros((len(probs), 1)), reached[:, :-1]], axis=1)
    kept = np.zeros(probs.shape, dtype=bool)
    np.put_along_axis(kept, ranking, before < p, axis=1)
    return kept


def _renormalised(probs: Float64[Array, "B V"], kept: Bool[Array, "B V"]) -> Float64[Array, "B V"]:
    """What stays, divided by its sum."""
    weights = np.where(kept, probs, 0.0)
    result: Float64[Array, "B V"] = weights / weights.sum(axis=1, keepdims=True)
    return result
