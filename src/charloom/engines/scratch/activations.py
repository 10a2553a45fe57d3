"""The activation functions σ, tanh and relu, each with its slope in terms of its value.

σ(a) = 1 / (1 + e^−a)     σ′ = σ (1 − σ)
tanh(a)                   tanh′ = 1 − tanh²
relu(a) = max(a, 0)       relu′ = 1 if a > 0, else 0
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from jaxtyping import Float
    from numpy import ndarray as Array


def sigmoid(a: Float[Array, "..."], out: Array | None = None) -> Float[Array, "..."]:
    """The logistic function; if e^−a overflows to infinity, the result is correctly 0.

    The result is written to `out`, which may be `a`, or to a new array; the same holds for tanh and relu.

    Example:
        >>> sigmoid(np.array([-1e9, 0.0, 1e9])).tolist()
        [0.0, 0.5, 1.0]
    """
    with np.errstate(over="ignore"):
        y: Array = np.exp(np.negative(a, out=out), out=out)
        y += 1.0
        np.divide(1.0, y, out=y)
    return y


def sigmoid_slope(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """σ′ given σ = `y`."""
    slope: Array = y * (1 - y)
    return slope


def tanh(a: Float[Array, "..."], out: Array | None = None) -> Float[Array, "..."]:
    """The hyperbolic tangent."""
    y: Array = np.tanh(a, out=out)
    return y


def tanh_slope(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """tanh′ given tanh = `y`."""
    slope: Array = 1 - y**2
    return slope


def relu(a: Float[Array, "..."], out: Array | None = None) -> Float[Array, "..."]:
    """The positive part."""
    y: Array = np.maximum(a, 0.0, out=out)
    return y


def relu_slope(y: Float[Array, "..."]) -> Float[Array, "..."]:
    """relu′ given relu = `y`; 0 at the corner."""
    slope: Array = (y > 0).astype(y.dtype)
    return slope


ACTIVATIONS: dict[str, tuple[Callable[..., Array], Callable[[Array], Array]]] = {
    "tanh": (tanh, tanh_slope),
    "sigmoid": (sigmoid, sigmoid_slope),
    "relu": (relu, relu_slope),
}
"""The choices for the Elman cell's φ, each with its slope."""
