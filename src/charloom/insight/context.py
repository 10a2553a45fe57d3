"""How much context a model uses: its loss by the number of characters read, and how it uses distant ones.

    curve[k − 1] = mean loss of the same targets after k characters since a zero state       (1)
    enough = the first k with curve[k − 1] ≤ 1.01 · min curve[j], j ≥ k − 1                  (2)  more gains under 1 %

The same targets are scored with the context beyond the nearest k characters removed, shuffled and unchanged:

    truncated_k  without it      shuffled_k  with its characters in random order      full  with it unchanged
    order share = (shuffled_k − full) / (truncated_k − full)                                 (3)

(3) is the share of the far context's gain that is lost with its order: at 0 the model uses only which characters occur,
at 1 nothing of the gain is left without their order, and above 1 the shuffled context does harm.

Source: (1): Cifka & Liutkus (2022), context length probing, averaged over targets; shuffling far context: Khandelwal
et al. (2018), who shuffle words.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.engines import EngineModel
from charloom.insight.passages import resets_before, spaced
from charloom.rng import Purpose, permutation
from charloom.summary import short_fields
from charloom.text.batching import Window

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

GAIN = 0.01
"""A gain below one per cent of the loss is not worth the time; published results for the same model differ by more."""

TAIL_SHARE = 8
"""The end of a curve, which must be finite, is its last 1/8."""

ROWS = 256
"""Windows per batch."""


@dataclass(frozen=True, slots=True, eq=False)
class FarContext:
    """The use of characters beyond the nearest ones.

    Attributes:
        kept_chars: numbers of nearest characters left unchanged, (K,).
        truncated_nats: loss without the farther characters, (K,).
        shuffled_nats: loss with the farther characters in random order, (K,).
        full_nats: loss with the full context.
        reach_chars: characters of the full context.
        num_targets: predictions in every mean.
    """

    kept_chars: tuple[int, ...]
    truncated_nats: Float[Array, "K"]
    shuffled_nats: Float[Array, "K"]
    full_nats: float
    reach_chars: int
    num_targets: int

    __repr__ = short_fields

    @property
    def order_share(self) -> tuple[float | None, ...]:
        """Equation (3); None if the far context gains under 1 %, too little to divide into parts."""
        gains = self.truncated_nats - self.full_nats
        lost = self.shuffled_nats - self.full_nats
        return tuple(
            float(part / gain) if gain > GAIN * self.full_nats else None
            for part, gain in zip(lost, gains, strict=True)
        )


def context_curve(
    model: EngineModel,
    ids: Int[Array, "N"],
    *,
    reach: int,
    targets: int,
    stretches: int = 12,
    boundary_id: int | None = None,
) -> Float[Array, "K"]:
    """Measure (1): mean loss by the number of characters read since a zero state, nats, (reach,).

    Every element is a mean over the same targets, so the differences do not depend on the choice of targets.

    Args:
        model: of any engine.
        ids: held-out text, read in up to `stretches` evenly spaced passages.
        reach: maximum number of characters read.
        targets: characters predicted per passage.
        stretches: number of passages.
        boundary_id: the symbol before which the state is reset, or None.

    Raises:
        DataError: the text is shorter than one passage, `targets` + 2 `reach` characters.
    """
    passages = spaced(ids, targets + 2 * reach, stretches)
    curves = [_paired(model, passage, reach, targets, boundary_id) for passage in passages]
    return np.asarray(np.mean(curves, axis=0))


def enough(curve: Float[Array, "K"], far: FarContext | None = None) -> int | None:
    """Equation (2): the number of characters of context that suffices; None if the curve's end is not finite.

    It is never smaller than a number of nearest characters whose farther context gains 1 % or more by `far`.

    Example:
        >>> enough(np.array([3.0, 1.5, 1.02, 1.009, 1.0, 1.0, 1.0, 1.0]))
        4
    """
    if not np.isfinite(curve[-max(1, len(curve) // TAIL_SHARE) :]).all():
        return None
    best_from = np.minimum.accumulate(np.nan_to_num(curve, nan=np.inf)[::-1])[::-1]
    suffices = curve <= (1 + GAIN) * best_from
    if far is not None:
        gains = far.truncated_nats - far.full_nats
        insufficient = [
            k for k, gain in zip(far.kept_chars, gains, strict=True) if gain > GAIN * far.full_nats
        ]
        suffices[: max(insufficient, default=0)] = False
    return int(np.argmax(suffices)) + 1


def far_context(
    model: EngineModel,
    ids: Int[Array, "N"],
    *,
    kept: tuple[int, ...],
    reach: int,
    targets: int,
    seed: int = 0,
) -> FarContext:
    """Measure the use of far context on up to `targets` predictions evenly spaced over the text.

    Args:
        model: of any engine.
        ids: held-out text of one stream; a reset would cut the context to be shuffled.
        kept: numbers of nearest characters to leave unchanged, each below `reach`.
        reach: characters before each target.
        targets: maximum number of predictions.
        seed: of the shuffles; every target has its own.

    Raises:
        DataError: the text is shorter than `reach` + 1 characters.
    """
    windows = spaced(ids, reach + 1, targets)
    orders = [permutation(seed, Purpose.EVALUATE, row, reach) for row in range(len(windows))]
    truncated, shuffled = [], []
    for k in kept:
        moved = windows.copy()
        for row, order in enumerate(orders):
            moved[row, : reach - k] = windows[row, order[order < reach - k]]
        truncated.append(_last_loss(model, windows[:, reach - k :]))
        shuffled.append(_last_loss(model, moved))
    full = _last_loss(model, windows)
    return FarContext(kept, np.array(truncated), np.array(shuffled), full, reach, len(windows))


def _paired(
    model: EngineModel, ids: Int[Array, "N"], reach: int, targets: int, boundary_id: int | None
) -> Float[Array, "K"]:
    """One window from each of the first reach + targets − 1 positions; column k − 1 of window s predicts s + k."""
    places = np.arange(reach + targets - 1)[:, None] + np.arange(reach)
    losses = _losses(model, ids[places], ids[places + 1], boundary_id)
    k = np.arange(1, reach + 1)
    target = np.arange(reach, reach + targets)[:, None]
    return np.asarray(losses[target - k, k - 1].mean(axis=0, dtype=np.float64))


def _last_loss(model: EngineModel, windows: Int[Array, "N L"]) -> float:
    losses = _losses(model, windows[:, :-1], windows[:, 1:], None)
    return float(losses[:, -1].mean(dtype=np.float64))


def _losses(
    model: EngineModel, ids: Int[Array, "N T"], targets: Int[Array, "N T"], boundary_id: int | None
) -> Float[Array, "N T"]:
    """The loss of every target of every window, each from a zero state."""
    found = []
    for rows in np.array_split(np.arange(len(ids)), math.ceil(len(ids) / ROWS)):
        here = ids[rows].astype(np.int64)
        resets = resets_before(here, boundary_id)
        resets = np.zeros(here.shape, bool) if resets is None else resets
        window = Window(here, targets[rows].astype(np.int64), resets)
        found.append(model.losses(window, model.initial_state(len(rows)))[0])
    return np.concatenate(found)
