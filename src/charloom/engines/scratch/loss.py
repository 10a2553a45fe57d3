"""Softmax cross-entropy and its derivative.

    log p = y − log Σ e^y             (1)  over the vocabulary, shifted by max y to avoid overflow
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
    nats: Array = -np.take_along_axis(log_p, targets[:, :, None], axis=2)[:, :, 0]  # (2)
    return nats


def backward(log_p: Float[Array, "T B V"], targets: Int[Array, "T B"]) -> Float[Array, "T B V"]:
    """Equation (3): the gradient of each target's loss in its logits."""
    d_y: Array = np.exp(log_p, order="C")
    rows = d_y.reshape(-1, d_y.shape[-1])  # (T·B, V), the same memory
    rows[np.arange(len(rows)), targets.ravel()] -= 1  # (3)
    return d_y
