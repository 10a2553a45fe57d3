"""Softmax cross-entropy: the loss of a prediction, and its derivative.

    log p = y − log Σ e^y             (1)  over the vocabulary, shifted by max y so that nothing overflows
    L = −log p[target]                (2)  nats
    ∂L/∂y = p − one-hot(target)       (3)

Shapes: T time, B batch, V vocabulary; y are the logits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array


def log_softmax(y: Float[Array, "T B V"]) -> Float[Array, "T B V"]:
    """Equation (1)."""
    y = y - y.max(axis=-1, keepdims=True)
    log_p: Array = y - np.log(np.exp(y).sum(axis=-1, keepdims=True))  # (1)
    return log_p


def losses(log_p: Float[Array, "T B V"], targets: Int[Array, "T B"]) -> Float[Array, "T B"]:
    """Equation (2): the loss of each target in nats."""
    t, b = np.ogrid[: targets.shape[0], : targets.shape[1]]
    nats: Array = -log_p[t, b, targets]  # (2)
    return nats


def backward(log_p: Float[Array, "T B V"], targets: Int[Array, "T B"]) -> Float[Array, "T B V"]:
    """Equation (3): the gradient of each target's loss in its logits."""
    t, b = np.ogrid[: targets.shape[0], : targets.shape[1]]
    d_y: Array = np.exp(log_p)
    d_y[t, b, targets] -= 1  # (3)
    return d_y
