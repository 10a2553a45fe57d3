"""Softmax cross-entropy and its gradient, compiled, for the online trainer.

    L = log Σ_v exp y_v − y[target]           (1)  nats
    ∂L/∂y = softmax(y) − one-hot(target)      (2)

Shapes: V vocabulary.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charloom.kernels.jit import compiled, compiled_sum
from charloom.kernels.vector_math import exponential


@compiled
def loss_and_gradient(y: Any, target: Any, scale: Any) -> float:
    """Return (1) of one time step in nats, float64; overwrite `y` (V,) with `scale` times (2)."""
    m = largest(y)
    at_target = y[target] - m
    for v in range(y.shape[0]):
        y[v] -= m
    exponential(y)
    normaliser = total(y)
    factor = scale / normaliser
    for v in range(y.shape[0]):
        y[v] *= factor
    y[target] -= scale
    return math.log(np.float64(normaliser)) - np.float64(at_target)


@compiled_sum
def total(x: Any) -> Any:
    """Compute Σ x for x (n,)."""
    s = x.dtype.type(0)
    for i in range(x.shape[0]):
        s += x[i]
    return s


@compiled
def largest(y: Any) -> Any:
    """The largest of y (V,), from four running maxima so that comparisons do not wait for each other."""
    m0 = m1 = m2 = m3 = y[0]
    whole = y.shape[0] - y.shape[0] % 4
    for v in range(0, whole, 4):
        m0 = y[v] if y[v] > m0 else m0
        m1 = y[v + 1] if y[v + 1] > m1 else m1
        m2 = y[v + 2] if y[v + 2] > m2 else m2
        m3 = y[v + 3] if y[v + 3] > m3 else m3
    for v in range(whole, y.shape[0]):
        m0 = y[v] if y[v] > m0 else m0
    return max(max(m0, m1), max(m2, m3))
