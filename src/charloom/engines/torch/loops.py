"""Compiled loops as differentiable functions: what stands between the matrix products of a network on a CPU.

torch walks through memory once an operation; these walk once for all of them, and their derivatives are written out. They share
their arrays with torch, copy nothing, and run without the interpreter's lock. There is no second derivative.

Shapes: T time, B batch, D residual stream, M width of the MLP, K taps; rows may have any leading axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from charloom.engines.kernels import compiling, gates, masks, residual
from charloom.parameters import NORM_EPSILON

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt16
    from numpy import ndarray as Array
    from torch import Tensor

_NOWHERE = np.zeros((0, 0), bool)


def fit(x: Tensor) -> bool:
    """Whether the loops can compute with this tensor: in memory of the CPU, in float32 or float64, outside an autocast."""
    if not compiling.HAS_NUMBA or x.device.type != "cpu":
        return False
    return x.dtype in (torch.float32, torch.float64) and not torch.is_autocast_enabled("cpu")


def array(x: Tensor) -> Array:
    """The tensor's own memory, row behind row (a copy only where it lies otherwise)."""
    found: Array = x.detach().contiguous().numpy()
    return found


def rows(x: Array) -> Array:
    """The same memory as (R, last axis)."""
    return x.reshape(-1, x.shape[-1])


def marks(resets: Bool[Tensor, "T B"] | None) -> Array:
    """Resets as the loops read them: (0, 0) stands for none."""
    return _NOWHERE if resets is None else array(resets)


def norm(x: Float[Tensor, "... D"], gain: Float[Tensor, "D"]) -> Float[Tensor, "... D"]:
    """RMSNorm over the last axis."""
    y: Tensor = _Norm.apply(x, gain)  # type: ignore[no-untyped-call]
    return y


def swiglu(gate: Float[Tensor, "... M"], up: Float[Tensor, "... M"]) -> Float[Tensor, "... M"]:
    """silu(gate) ⊙ up."""
    y: Tensor = _SwiGLU.apply(gate, up)  # type: ignore[no-untyped-call]
    return y


def norm_conv(
    x: Float[Tensor, "T B D"],
    gain: Float[Tensor, "D"],
    past: Float[Tensor, "B K-1 D"],
    weight: Float[Tensor, "D K"],
    bias: Float[Tensor, "D"],
    resets: Bool[Tensor, "T B"] | None,
) -> tuple[Float[Tensor, "T B D"], Float[Tensor, "B K-1 D"]]:
    """RMSNorm and the causal convolution of its output: (u, the last K − 1 inputs, zero where a reset came after them)."""
    u, after = _NormConv.apply(x, gain, past, weight, bias, resets)  # type: ignore[no-untyped-call]
    return u, after


def drop(
    x: Float[Tensor, "T B W"], halves: UInt16[Array, "B n"], threshold: int, scale: float
) -> Float[Tensor, "T B W"]:
    """Dropout with given numbers, as `kernels.masks.drop`."""
    y: Tensor = _Drop.apply(x, halves, threshold, scale)  # type: ignore[no-untyped-call]
    return y


def mingru(
    a: Float[Tensor, "T B 2H"],
    bias: Float[Tensor, "2H"],
    h0: Float[Tensor, "B H"],
    resets: Bool[Tensor, "T B"] | None,
    fresh: Float[Tensor, "B H"],
) -> Float[Tensor, "T B H"]:
    """The gates of minGRU and its scan; `a` is W_ih x: to add the bias on the way through saves a copy of it for every row."""
    h: Tensor = _MinGRU.apply(a, bias, h0, resets, fresh)  # type: ignore[no-untyped-call]
    return h


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        x = x.contiguous()
        v, scales = torch.empty_like(x), x.new_empty(x.shape[:-1])
        numbers = (rows(array(x)), array(gain), array(x).dtype.type(NORM_EPSILON))
        residual.norm_forward(*numbers, rows(array(v)), array(scales).reshape(-1))
        ctx.save_for_backward(x, gain, scales)
        return v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_v: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, scales = ctx.saved_tensors
        d_x, d_gain = torch.empty_like(x), torch.zeros_like(gain)
        residual.norm_backward(
            rows(array(x)),
            array(gain),
            array(scales).reshape(-1),
            rows(array(d_v)),
            rows(array(d_x)),
            array(d_gain),
            np.empty_like(array(gain)),
        )
        return d_x, d_gain


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        y = torch.empty_like(gate)
        residual.swiglu_forward(*(rows(array(x)) for x in (gate, up, y)))
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        arrays = [rows(array(x)) for x in (gate, up, d_y, d_gate, d_up)]
        g, u, d, d_g, d_u = arrays
        residual.swiglu_backward(g, u, d, d_g, d_u, np.empty_like(g[0]))
        return d_gate, d_up


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, halves: Array, threshold: int, scale: float) -> Tensor:
        ctx.numbers = (halves, np.uint16(threshold), array(x).dtype.type(scale))
        y = x.new_empty(x.shape)
        halves, least, factor = ctx.numbers
        masks.drop(array(x), halves, least, factor, array(y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        d_x = d_y.new_empty(d_y.shape)
        halves, least, factor = ctx.numbers
        masks.drop(array(d_y), halves, least, factor, array(d_x))
        return d_x, None, None, None


class _NormConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gain: Tensor,
        past: Tensor,
        weight: Tensor,
        bias: Tensor,
        resets: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        (T, B, D), K = x.shape, weight.shape[1]
        x, taps = x.contiguous(), weight.t().contiguous()
        v, u, scales = x.new_empty(K - 1 + T, B, D), torch.empty_like(x), x.new_empty(T, B)
        v[: K - 1] = past.transpose(0, 1)
        age = np.full(B, K, np.int64)
        residual.norm_conv_forward(
            array(x),
            array(gain),
            array(x).dtype.type(NORM_EPSILON),
            array(taps),
            array(bias),
            marks(resets),
            age,
            array(v),
            array(scales),
            array(u),
        )
        lags = torch.arange(K - 2, -1, -1)
        alive = (lags <= torch.from_numpy(age)[:, None]).unsqueeze(2)
        ctx.save_for_backward(x, gain, taps, v, scales, alive)
        ctx.resets = resets
        return u, torch.where(alive, v[T:].transpose(0, 1), 0.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_u: Tensor, d_after: Tensor) -> tuple[Tensor | None, ...]:
        x, gain, taps, v, scales, alive = ctx.saved_tensors
        K = len(taps)
        d_v, d_x, d_taps = torch.zeros_like(v), torch.empty_like(x), torch.zeros_like(taps)
        d_v[len(x) :] = torch.where(alive, d_after, 0.0).transpose(0, 1)
        d_gain, d_bias = torch.zeros_like(gain), torch.zeros_like(gain)
        residual.norm_conv_backward(
            array(x),
            array(gain),
            array(taps),
            marks(ctx.resets),
            array(v),
            array(scales),
            array(d_u),
            array(d_v),
            array(d_x),
            array(d_gain),
            array(d_taps),
            array(d_bias),
            np.empty(x.shape[1], np.int64),
        )
        return d_x, d_gain, d_v[: K - 1].transpose(0, 1), d_taps.t(), d_bias, None


class _MinGRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, bias: Tensor, h0: Tensor, resets: Tensor | None, fresh: Tensor
    ) -> Tensor:
        T, B, H = a.shape[0], a.shape[1], a.shape[2] // 2
        z, n, h = (a.new_empty(T, B, H) for _ in range(3))
        begin = array(h0), marks(resets), array(fresh)
        gates.mingru_forward(array(a), array(bias), begin, *(array(x) for x in (z, n, h)))
        ctx.save_for_backward(z, n, h, h0, fresh)
        ctx.resets = resets
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor | None, ...]:
        z, n, h, h0, fresh = ctx.saved_tensors
        d_a, carried = z.new_empty(*z.shape[:2], 2 * z.shape[2]), torch.zeros_like(h[0])
        d_bias = z.new_zeros(d_a.shape[2])
        begin, kept = (array(h0), marks(ctx.resets), array(fresh)), (array(z), array(n), array(h))
        found = array(carried), array(d_a), array(d_bias)
        gates.mingru_backward(begin, kept, array(d_h), *found)
        return d_a, d_bias, carried, None, None
