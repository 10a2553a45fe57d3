"""How far the gradient of one loss reaches back: its norm by the lag in characters.

    grad_norm_by_lag[k] = mean over t and rows of ‖∂L_t/∂h_{t−k}‖₂      (1)  L_t is the loss of step t alone; same for c
    decay = e^slope,  slope of ln grad_norm_by_lag over k = 1 … K       (2)  least squares; the factor per character
    half-life = ln 2 / −slope                                           (3)  None if the gradient does not shrink
    horizon = the first k with grad_norm_by_lag[k] ≤ 1 % of grad_norm_by_lag[0]     (4)  None if not within K lags

Means are over the same losses at every lag, except that no gradient crosses a reset: pairs of steps in different
documents are not counted. Norms are float64, because in float32 a vanishing gradient underflows near lag 100.

Source: Pascanu, Mikolov & Bengio (2013), equation 5, for (1) as a product of Jacobians; the 1 % of (4) is our choice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from charloom.config import ModelConfig
from charloom.engines.scratch import loss
from charloom.insight.bptt import backpropagate, unroll
from charloom.insight.passages import resets_before
from charloom.parameters import initial_parameters
from charloom.summary import Summarised, Summary, short_fields

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

HORIZON_SHARE = 0.01
"""Share of lag 0 left at the memory horizon: two powers of ten, negligible next to nearer gradients."""


@dataclass(frozen=True, slots=True, eq=False)
class Decay:
    """The gradient in one state array by lag.

    Attributes:
        layer: from 0, the lowest.
        array: h or c.
        grad_norm_by_lag: (1), nats per unit of the state, (K + 1,).
        decay_per_char: (2), the factor from one lag to the next; None if too few norms are positive.
        half_life_chars: (3).
        horizon_chars: (4).
    """

    layer: int
    array: str
    grad_norm_by_lag: Float[Array, "K"]
    decay_per_char: float | None
    half_life_chars: float | None
    horizon_chars: int | None

    __repr__ = short_fields


@dataclass(frozen=True, slots=True)
class Flow:
    """The gradients in every layer's h and, in an LSTM, c; the memory horizon is the largest, None beyond all lags."""

    arrays: tuple[Decay, ...]
    memory_horizon_chars: int | None

    __repr__ = short_fields


@dataclass(frozen=True, slots=True, repr=False)
class GradientFlow(Summarised):
    """Gradients as trained and at initialisation, up to lag `num_lags`, as means over `num_losses` losses."""

    num_lags: int
    num_losses: int
    trained: Flow
    initial: Flow

    def summary(self) -> Summary:
        """How far back gradients reach."""
        horizons = (self.trained.memory_horizon_chars, self.initial.memory_horizon_chars)
        trained, initial = (f"over {self.num_lags}" if h is None else f"{h}" for h in horizons)
        title = f"GradientFlow: gradients reach {trained} characters, {initial} at initialisation"
        return Summary(title, (("measured", f"{self.num_losses} losses, lags up to {self.num_lags}"),))


def gradient_flow(
    config: ModelConfig,
    params: Mapping[str, Array],
    passages: Int[Array, "P N"],
    num_lags: int,
    *,
    seed: int = 0,
    boundary_id: int | None = None,
) -> GradientFlow:
    """Measure how gradients decay, as trained and at initialisation.

    Args:
        config: the network; dropout is off.
        params: its trained arrays.
        passages: ids; each passage's steps from `num_lags` on are losses, its last character only a target.
        num_lags: K; a passage has at least K + 2 characters.
        seed: of the initial parameters.
        boundary_id: the symbol before which the state is reset, or None.

    Source:
        Pascanu, Mikolov & Bengio (2013), equation 5.
    """
    vocab_size = len(params["out.bias"])
    flows = [
        measure(config, arrays, passages, num_lags, boundary_id=boundary_id)
        for arrays in (params, initial_parameters(config, vocab_size, seed))
    ]
    num_losses = passages.shape[0] * (passages.shape[1] - 1 - num_lags)
    return GradientFlow(num_lags, num_losses, *flows)


def measure(
    config: ModelConfig,
    params: Mapping[str, Array],
    passages: Int[Array, "P N"],
    num_lags: int,
    *,
    boundary_id: int | None = None,
) -> Flow:
    """Measure the gradients of one set of parameters; arguments as in `gradient_flow`."""
    total: dict[tuple[int, str], Array] = {}
    pairs = np.zeros(num_lags + 1)
    for ids in passages:
        norms, here = _passage(config, params, ids, num_lags, boundary_id)
        for place, by_lag in norms.items():
            total[place] = total.get(place, 0.0) + by_lag
        pairs += here
    reached = int((pairs > 0).sum())
    arrays = tuple(
        describe(layer, array, total[layer, array][:reached] / pairs[:reached])
        for layer, array in sorted(total, key=lambda place: (place[0], place[1] != "h"))
    )
    horizons = [decay.horizon_chars for decay in arrays]
    return Flow(arrays, None if None in horizons else max(h for h in horizons if h is not None))


def describe(layer: int, array: str, by_lag: Float[Array, "K"]) -> Decay:
    """Equations (2) to (4) for one curve."""
    slope = _slope(by_lag)
    half_life = math.log(2) / -slope if slope is not None and slope < 0 else None
    decay = None if slope is None else math.exp(min(slope, 700.0))
    return Decay(layer, array, by_lag, decay, half_life, horizon(by_lag))


def horizon(by_lag: Float[Array, "K"]) -> int | None:
    """Equation (4); 0 if lag 0 itself has no gradient, as in an untrained residual block (output projection 0).

    Example:
        >>> horizon(np.array([2.0, 1.0, 0.02, 0.5])), horizon(np.array([2.0, 1.0]))
        (2, None)
    """
    below = np.flatnonzero(by_lag <= HORIZON_SHARE * by_lag[0])
    return int(below[0]) if len(below) else None


def farthest(flow: Flow) -> Decay:
    """The state array whose gradient reaches farthest back: by horizon, then by the share left at the last lag."""

    def reach(decay: Decay) -> tuple[float, float]:
        here = math.inf if decay.horizon_chars is None else decay.horizon_chars
        first, last = decay.grad_norm_by_lag[0], decay.grad_norm_by_lag[-1]
        return here, float(last / first) if first > 0 and np.isfinite(last) else 0.0

    return max(flow.arrays, key=reach)


def _slope(by_lag: Float[Array, "K"]) -> float | None:
    """The slope of (2), over the lags whose norm is positive and finite; lag 0 contains no Jacobian."""
    lags = np.arange(1, len(by_lag))
    usable = np.isfinite(by_lag[1:]) & (by_lag[1:] > 0)
    if usable.sum() < 2:
        return None
    k, log_norm = lags[usable], np.log(by_lag[1:][usable])
    k = k - k.mean()
    return float((k * log_norm).sum() / (k * k).sum())


def _passage(
    config: ModelConfig,
    params: Mapping[str, Array],
    ids: Int[Array, "N"],
    num_lags: int,
    boundary_id: int | None,
) -> tuple[dict[tuple[int, str], Float[Array, "K"]], Float[Array, "K"]]:
    """Sum the norms at every lag over one passage's losses, and count the pairs of steps in each sum."""
    resets = resets_before(ids[:-1, None], boundary_id)
    read = unroll(config, params, ids[:-1, None], resets)
    times = np.arange(num_lags, len(ids) - 1)
    log_p = loss.log_softmax(read.logits[num_lags:])
    d_logits = loss.backward(log_p, ids[num_lags + 1 :, None])[:, 0]
    document = np.zeros(len(ids) - 1) if resets is None else resets[:, 0].cumsum()
    sums: dict[tuple[int, str], Array] = {}
    pairs = np.zeros(num_lags + 1)
    for found in backpropagate(read, times, d_logits):
        lag = times - found.t
        rows = (lag >= 0) & (lag <= num_lags) & (document[times] == document[found.t])
        pairs[lag[rows]] += 1
        for layer, arrays in enumerate(found.layers):
            for array, d in arrays.items():
                by_lag = sums.setdefault((layer, array), np.zeros(num_lags + 1))
                by_lag[lag[rows]] += np.linalg.norm(d[rows], axis=1)  # one t, so each lag occurs once
    return sums, pairs
