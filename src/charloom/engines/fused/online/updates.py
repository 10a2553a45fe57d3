"""Compiled optimiser rules over flat vectors: parameter w, gradient g, learning rate η, moments in `first` and `second`.

    d = clip(s g, ±c) + λ w                        (1)  s scales the norm down, λ is the L2 decay of matrices
    sgd      m ← μ m + d;   w ← w − η m            (2)  m is not kept where μ is 0
    adagrad  G ← G + d²;    w ← w − η d / (√G + ε), or √(G + ε)                    (3)
    rmsprop  G ← β G + (1 − β) d²;  m ← μ m + d / (√G + ε);  w ← w − η m           (4)
    adam     m ← β₁ m + (1 − β₁) d;  G ← β₂ G + (1 − β₂) d²                        (5)
             w ← w − η / (1 − β₁ⁿ) · m / (√(G / (1 − β₂ⁿ)) + ε)                    (6)  n counts updates
    adamw    as adam with λ = 0 in (1), after w ← w − η λ w                        (7)

Source: the update rules of torch.optim (2.13), whose moments have the same names and values; ε inside the root as in
character-RNN programs written from scratch. Each rule is a function of its own element alone: where a stretch or a
segment is cut cannot change a bit.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from charloom.config import TrainConfig
from charloom.engines.kernels.compiling import compiled

RULES = {"sgd": 0, "adagrad": 1, "rmsprop": 2, "adam": 3, "adamw": 4}
"""The number by which the compiled loop knows an optimiser."""

_SGD, _ADAGRAD, _RMSPROP, _ADAMW = (RULES[name] for name in ("sgd", "adagrad", "rmsprop", "adamw"))


class Rule(NamedTuple):
    """An optimiser's constants, in float64: 1 − β is taken before it is rounded to the weights' precision.

    Attributes:
        code: which of `RULES`.
        momentum: μ.
        beta1: β₁ of adam.
        beta2: β₂ of adam, β of rmsprop.
        epsilon: ε.
        inside: adagrad's ε stands under the root.
        decay: λ.
        ceiling: c; infinite where elements are not clipped.
        at_rest: a gradient of zero changes nothing, so untouched rows may be passed over.
    """

    code: int
    momentum: float
    beta1: float
    beta2: float
    epsilon: float
    inside: bool
    decay: float
    ceiling: float
    at_rest: bool


def rule_of(config: TrainConfig) -> Rule:
    """The rule that a configuration asks for."""
    return Rule(
        RULES[config.optimizer],
        float(config.momentum),
        float(config.beta1),
        float(config.beta2),
        float(config.epsilon),
        config.epsilon_inside_root,
        float(config.weight_decay),
        math.inf if config.clip_value is None else float(config.clip_value),
        config.weight_decay == 0
        and (config.optimizer == "adagrad" or (config.optimizer == "sgd" and config.momentum == 0)),
    )


def moment_names(config: TrainConfig) -> tuple[str | None, str | None]:
    """What torch calls the first and second moment; None where the rule has none."""
    momentum = "momentum_buffer" if config.momentum > 0 else None
    return {
        "sgd": (momentum, None),
        "adagrad": (None, "sum"),
        "rmsprop": (momentum, "square_avg"),
        "adam": ("exp_avg", "exp_avg_sq"),
        "adamw": ("exp_avg", "exp_avg_sq"),
    }[config.optimizer]


def counts_updates(config: TrainConfig) -> bool:
    """Whether torch keeps a ``step`` beside the moments."""
    return config.optimizer != "sgd" and not (config.optimizer == "adagrad" and config.epsilon_inside_root)


@compiled
def update(
    rule: Any, w: Any, g: Any, first: Any, second: Any, decays: Any, s: Any, rate: Any, count: Any
) -> None:
    """Move one segment w (n,); `count` is n of (6), this update included; `decays` where it belongs to matrices."""
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
    """Move by (1), (2)."""
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
    """Move by (1), (5), (6)."""
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
    """`d` held within ±c; NaN stays NaN."""
    d = -c if d < -c else d
    return c if d > c else d


@compiled
def update_average(average: Any, w: Any, weight: Any) -> None:
    """Move the average towards the weights: average ← average + weight · (w − average), (n,)."""
    share = w.dtype.type(weight)
    for i in range(w.shape[0]):
        average[i] += share * (w[i] - average[i])
