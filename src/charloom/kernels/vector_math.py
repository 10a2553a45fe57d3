"""Compiled φ and exp over arrays: vector code in float32, libm in float64.

    exp x  = 2^n e^r,  n = round(x / ln 2),  r = x − n ln 2 in two parts,  e^r a polynomial of degree 7     (1)
    σ(x)   = 1 / (1 + exp(−x))                                                                             (2)
    tanh x = x + x³ P(x²) for |x| < 0.625, else sign(x) (1 − 2 / (exp 2|x| + 1))                           (3)

A libm call is scalar and takes 10 ns; this code is branch-free, and LLVM runs it sixteen lanes at a time.
Relative errors against float64: exp 1e-7, σ and tanh 2e-7 (tested); exp is constant outside [−87.3, 88.3];
NaN stays NaN.

Source: the coefficients are those of Cephes' single-precision ``expf`` and ``tanhf`` (Moshier 1992).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from charloom.kernels.jit import compiled

ACTIVATIONS = {"tanh": 0, "sigmoid": 1, "relu": 2}
"""The code of each activation in compiled loops."""

_TANH, _SIGMOID = ACTIVATIONS["tanh"], ACTIVATIONS["sigmoid"]

_F = np.float32
_LOWEST, _HIGHEST = _F(-87.3), _F(88.3)
_LOG2_E = _F(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = _F(0.693359375), _F(-2.12194440e-4)
_SHIFT = _F(1.5 * 2**23)  # adding it to a small number leaves the nearest integer in the lowest bits
_SHIFT_BITS = np.int32(0x4B400000 - 127)  # bits of `_SHIFT` minus the exponent bias
_ONE, _TWO = _F(1), _F(2)


@compiled
def _exp32(x: Any) -> Any:
    """Compute (1)."""
    x = _LOWEST if x < _LOWEST else x
    x = _HIGHEST if x > _HIGHEST else x
    shifted = _F(x * _LOG2_E + _SHIFT)
    n = shifted - _SHIFT
    r = (x - n * _LN2_HIGH) - n * _LN2_LOW
    p = _F(1.9875691500e-4) * r + _F(1.3981999507e-3)
    p = p * r + _F(8.3334519073e-3)
    p = p * r + _F(4.1665795894e-2)
    p = p * r + _F(1.6666665459e-1)
    p = p * r + _F(5.0000001201e-1)
    e_r = p * (r * r) + r + _ONE
    power = np.int32(np.int32(shifted.view(np.int32) - _SHIFT_BITS) << np.int32(23))
    return e_r * power.view(np.float32)


@compiled
def _tanh32(x: Any) -> Any:
    """Compute (3)."""
    size, z = abs(x), x * x
    p = _F(-5.70498872745e-3) * z + _F(2.06390887954e-2)
    p = p * z + _F(-5.37397155531e-2)
    p = p * z + _F(1.33314422036e-1)
    p = p * z + _F(-3.33332819422e-1)
    large = _ONE - _TWO / (_exp32(size + size) + _ONE)
    return x + x * (z * p) if size < _F(0.625) else math.copysign(large, x)


@compiled
def exponential(x: Any) -> None:
    """Replace each element of `x` (n,) by its exponential."""
    if x.itemsize == 4:
        for i in range(x.shape[0]):
            x[i] = _exp32(_F(x[i]))
    else:
        for i in range(x.shape[0]):
            x[i] = math.exp(x[i])


@compiled
def activate(activation: Any, a: Any, h: Any) -> None:
    """Write φ(a) into `h`, (n,)."""
    if activation == _TANH:
        if a.itemsize == 4:
            for i in range(a.shape[0]):
                h[i] = _tanh32(_F(a[i]))
        else:
            for i in range(a.shape[0]):
                h[i] = math.tanh(a[i])
    elif activation == _SIGMOID:
        if a.itemsize == 4:
            for i in range(a.shape[0]):
                h[i] = _ONE / (_ONE + _exp32(_F(-a[i])))
        else:
            for i in range(a.shape[0]):
                h[i] = 1.0 / (1.0 + math.exp(-a[i]))
    else:
        zero = a.dtype.type(0)
        for i in range(a.shape[0]):
            h[i] = zero if a[i] <= zero else a[i]  # in this order NaN stays NaN


@compiled
def activate_backward(activation: Any, h: Any, d_h: Any, d_a: Any) -> None:
    """Write d_h ⊙ φ'(a), computed from h = φ(a), into `d_a`, (n,)."""
    zero, one = h.dtype.type(0), h.dtype.type(1)  # a plain 1 would promote float32 to float64
    if activation == _TANH:
        for i in range(h.shape[0]):
            d_a[i] = d_h[i] * (one - h[i] * h[i])
    elif activation == _SIGMOID:
        for i in range(h.shape[0]):
            d_a[i] = d_h[i] * (h[i] * (one - h[i]))
    else:
        for i in range(h.shape[0]):
            d_a[i] = d_h[i] if h[i] > zero else zero
