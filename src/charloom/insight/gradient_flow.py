"""How far the gradient of one loss walks back: its norm by the number of characters between.

    grad_norm_by_lag[k] = mean over t and rows of ‖∂L_t/∂h_{t−k}‖₂            (1)  L_t is the loss of step t alone; c the same
    decay = e^slope,  slope of ln grad_norm_by_lag over k = 1 … K             (2)  least squares; what one character leaves
    half-life = ln 2 / −slope                                                 (3)  none where the gradient does not shrink
    horizon = the first k with grad_norm_by_lag[k] ≤ 1 % of grad_norm_by_lag[0]     (4)  none within K lags

Means are over the same losses at every lag, save that documents end: no gradient crosses a reset, and a pair of steps in two
documents is no pair. Norms are float64: where a gradient vanishes, float32 reaches a false zero near lag 100.

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
from charloom.insight.passages import resets_before
from charloom.insight.unrolled import pull_back, unroll
from charloom.parameters import initial_parameters

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array

HORIZON_SHARE = 0.01
"""What is left of lag 0 at the memory horizon: two powers of ten below, lost among the gradients of nearer characters."""


@dataclass(frozen=True, slots=True, eq=False)
class Decay:
    """The gradient in one array of the state, by the lag.

    Attributes:
        layer: from 0, the lowest.
        array: h or c.
        grad_norm_by_lag: (1), nats per unit of the state, (K + 1,).
        decay_per_char: (2), the factor from one lag to the next; None where too few norms are positive.
        half_life_chars: (3).
        horizon_chars: (4).
    """

    layer: int
    array: str
    grad_norm_by_lag: Float[Array, "K"]
    decay_per_char: float | None
    half_life_chars: float | None
    horizon_chars: int | None


@dataclass(frozen=True, slots=True)
class Flow:
    """The gradients of one set of parameters.

    Attributes:
        arrays: every layer's h and, in an LSTM, c.
        memory_horizon_chars: the farthest of their horizons: a signal lives where it lives longest; None beyond all lags.
    """

    arrays: tuple[Decay, ...]
    memory_horizon_chars: int | None


@dataclass(frozen=True, slots=True)
class GradientFlow:
    """What training made of the gradients.

    Attributes:
        num_lags: K, the farthest lag measured.
        num_losses: losses behind every mean.
        trained: with the parameters given.
        initial: with those that the configuration starts from.
    """

    num_lags: int
    num_losses: int
    trained: Flow
    initial: Flow


def gradient_flow(
    config: ModelConfig,
    params: Mapping[str, Array],
    passages: Int[Array, "P N"],
    num_lags: int,
    *,
    seed: int = 0,
    boundary_id: int | None = None,
) -> GradientFlow:
    """Measure how gradients fade, as trained and at initialisation.

    Args:
        config: the network; its dropout is off.
        params: its arrays, as trained.
        passages: ids; each passage's steps from `num_lags` on are losses, its last character is a target alone.
        num_lags: K; a passage has to hold K + 2 characters or more.
        seed: of the initial parameters.
        boundary_id: the symbol before which the state is zero again, or None.

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
    """The gradients of one set of parameters; arguments as in `gradient_flow`."""
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
    farthest = None if None in horizons else max(h for h in horizons if h is not None)
    return Flow(arrays, farthest)


def describe(layer: int, array: str, by_lag: Float[Array, "K"]) -> Decay:
    """Equations (2) to (4) of one curve."""
    slope = _slope(by_lag)
    half_life = math.log(2) / -slope if slope is not None and slope < 0 else None
    decay = None if slope is None else math.exp(min(slope, 700.0))
    return Decay(layer, array, by_lag, decay, half_life, horizon(by_lag))


def horizon(by_lag: Float[Array, "K"]) -> int | None:
    """Equation (4); 0 where lag 0 itself has no gradient, as in a residual block before training, whose way out is shut.

    Example:
        >>> horizon(np.array([2.0, 1.0, 0.02, 0.5])), horizon(np.array([2.0, 1.0]))
        (2, None)
    """
    below = np.flatnonzero(by_lag <= HORIZON_SHARE * by_lag[0])
    return int(below[0]) if len(below) else None


def farthest(flow: Flow) -> Decay:
    """The state array whose gradient reaches farthest back: by its horizon, beyond all lags by what is left at the last."""

    def reach(decay: Decay) -> tuple[float, float]:
        here = math.inf if decay.horizon_chars is None else decay.horizon_chars
        first, last = decay.grad_norm_by_lag[0], decay.grad_norm_by_lag[-1]
        return here, float(last / first) if first > 0 and np.isfinite(last) else 0.0

    return max(flow.arrays, key=reach)


def _slope(by_lag: Float[Array, "K"]) -> float | None:
    """Equation (2)'s slope, over the lags whose norm is positive and finite; lag 0 has read no Jacobian yet."""
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
    """Sums over one passage's losses of the norms at every lag, and how many pairs of steps each sum has."""
    resets = resets_before(ids[:-1, None], boundary_id)
    read = unroll(config, params, ids[:-1, None], resets)
    times = np.arange(num_lags, len(ids) - 1)
    log_p = loss.log_softmax(read.logits[num_lags:])
    d_logits = loss.backward(log_p, ids[num_lags + 1 :, None])[:, 0]
    document = np.zeros(len(ids) - 1) if resets is None else resets[:, 0].cumsum()
    sums: dict[tuple[int, str], Array] = {}
    pairs = np.zeros(num_lags + 1)
    for found in pull_back(read, times, d_logits):
        lag = times - found.t
        rows = (lag >= 0) & (lag <= num_lags) & (document[times] == document[found.t])
        pairs[lag[rows]] += 1
        for layer, arrays in enumerate(found.layers):
            for array, d in arrays.items():
                by_lag = sums.setdefault((layer, array), np.zeros(num_lags + 1))
                by_lag[lag[rows]] += np.linalg.norm(d[rows], axis=1)  # one t, so no lag twice
    return sums, pairs
