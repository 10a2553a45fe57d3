"""Compiled optimiser rules over flat vectors: parameters w, gradient g, learning rate η, moments.

    d = clip(s g, ±c) + λ w                        (1)  s scales the norm down, λ is the L2 decay of matrices
    sgd      m ← μ m + d;   w ← w − η m            (2)  m is not kept if μ is 0
    adagrad  G ← G + d²;    w ← w − η d / (√G + ε), or √(G + ε)                    (3)
    rmsprop  G ← β G + (1 − β) d²;  m ← μ m + d / (√G + ε);  w ← w − η m           (4)
    adam     m ← β₁ m + (1 − β₁) d;  G ← β₂ G + (1 − β₂) d²                        (5)
             w ← w − η / (1 − β₁ⁿ) · m / (√(G / (1 − β₂ⁿ)) + ε)                    (6)  n counts updates
    adamw    as adam with λ = 0 in (1), after w ← w − η λ w                        (7)

Source: the update rules of torch.optim (2.13), whose moments have the same names and values; ε inside the
root as in character-RNN programs written from scratch. Rules are elementwise, so no split changes a bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from charloom.config import TrainConfig
from charloom.kernels.jit import compiled

RULES = {"sgd": 0, "adagrad": 1, "rmsprop": 2, "adam": 3, "adamw": 4}
"""The code of each optimiser in compiled loops."""

_SGD, _ADAGRAD, _RMSPROP, _ADAMW = (RULES[name] for name in ("sgd", "adagrad", "rmsprop", "adamw"))


class UpdateRule(NamedTuple):
    """The constants of an optimiser, in float64 so that 1 − β is computed before rounding."""

    code: int  # from `RULES`
    momentum: float  # μ
    beta1: float  # β₁ of adam
    beta2: float  # β₂ of adam, β of rmsprop
    epsilon: float  # ε
    inside: bool  # whether adagrad's ε is under the root
    decay: float  # λ
    ceiling: float  # c; infinite = elements are not clipped
    at_rest: bool  # whether a zero gradient changes nothing, so that untouched rows can be skipped


def update_rule(config: TrainConfig) -> UpdateRule:
    """The rule of a training configuration."""
    code, momentum, decay = RULES[config.optimizer], float(config.momentum), float(config.weight_decay)
    betas, epsilon = (float(config.beta1), float(config.beta2)), float(config.epsilon)
    ceiling = math.inf if config.clip_value is None else float(config.clip_value)
    at_rest = decay == 0 and (code == _ADAGRAD or (code == _SGD and momentum == 0))
    return UpdateRule(code, momentum, *betas, epsilon, config.epsilon_inside_root, decay, ceiling, at_rest)


def moment_names(config: TrainConfig) -> tuple[str | None, str | None]:
    """Torch's names of the first and second moment; None if the rule has no such moment."""
    momentum = "momentum_buffer" if config.momentum > 0 else None
    return {
        "sgd": (momentum, None),
        "adagrad": (None, "sum"),
        "rmsprop": (momentum, "square_avg"),
        "adam": ("exp_avg", "exp_avg_sq"),
        "adamw": ("exp_avg", "exp_avg_sq"),
    }[config.optimizer]


def counts_updates(config: TrainConfig) -> bool:
    """Whether torch keeps a ``step`` in addition to the moments."""
    return config.optimizer != "sgd" and not (config.optimizer == "adagrad" and config.epsilon_inside_root)


@compiled
def update(
    rule: Any, w: Any, g: Any, first: Any, second: Any, decays: Any, s: Any, rate: Any, count: Any
) -> None:
    """Update one segment w (n,); `count` is n of (6), this update included; `decays` is True for matrices."""
    number = w.dtype.type
    s, c, eta, epsilon = number(s), number(rule.ceiling), number(rate), number(rule.epsilon)
    decay = number(rule.decay if decays else 0)
    if rule.code == _SGD:
        _sgd(number(rule.momentum), w, g, first, decay, s, c, eta)
    elif rule.code == _ADAGRAD:
        inside, outside = (epsilon, number(0)) if rule.inside else (number(0), epsilon)
        for i in range(w.shape[0]):
            d = clipped(g[i] * s, c) + decay * w[i]  # (1)
            second[i] += d * d
            w[i] -= eta * d / (math.sqrt(second[i] + inside) + outside)  # (3)
    elif rule.code == _RMSPROP:
        mu, beta, rest = number(rule.momentum), number(rule.beta2), number(1 - rule.beta2)
        for i in range(w.shape[0]):
            d = clipped(g[i] * s, c) + decay * w[i]  # (1)
            second[i] = beta * second[i] + rest * (d * d)
            first[i] = mu * first[i] + d / (math.sqrt(second[i]) + epsilon)  # (4)
            w[i] -= eta * first[i]
    else:
        if rule.code == _ADAMW:
            keep = number(1 - rate * decay)
            for i in range(w.shape[0]):
                w[i] *= keep  # (7)
            decay = number(0)
        _adam(rule, w, g, first, second, decay, s, c, rate, count)


@compiled
def _sgd(mu: Any, w: Any, g: Any, m: Any, decay: Any, s: Any, c: Any, eta: Any) -> None:
    """Update by (1), (2)."""
    if mu > 0:
        for i in range(w.shape[0]):
            m[i] = mu * m[i] + (clipped(g[i] * s, c) + decay * w[i])
            w[i] -= eta * m[i]
    else:
        for i in range(w.shape[0]):
            w[i] -= eta * (clipped(g[i] * s, c) + decay * w[i])


@compiled
def _adam(
    rule: Any, w: Any, g: Any, m: Any, v: Any, decay: Any, s: Any, c: Any, rate: Any, count: Any
) -> None:
    """Update by (1), (5), (6)."""
    number = w.dtype.type
    beta1, rest1 = number(rule.beta1), number(1 - rule.beta1)
    beta2, rest2 = number(rule.beta2), number(1 - rule.beta2)
    eta, epsilon = number(rate / (1 - rule.beta1**count)), number(rule.epsilon)
    root = number(math.sqrt(1 - rule.beta2**count))
    for i in range(w.shape[0]):
        d = clipped(g[i] * s, c) + decay * w[i]  # (1)
        m[i] = beta1 * m[i] + rest1 * d  # (5)
        v[i] = beta2 * v[i] + rest2 * (d * d)
        w[i] -= eta * m[i] / (math.sqrt(v[i]) / root + epsilon)  # (6)


@compiled
def clipped(d: Any, c: Any) -> Any:
    """Clip `d` to ±c; NaN stays NaN."""
    d = -c if d < -c else d
    return c if d > c else d


@compiled
def update_average(average: Any, w: Any, weight: Any) -> None:
    """Compute average ← average + weight · (w − average), (n,)."""
    share = w.dtype.type(weight)
    for i in range(w.shape[0]):
        average[i] += share * (w[i] - average[i])
