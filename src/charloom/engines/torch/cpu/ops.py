"""Compiled loops as differentiable functions: the work between the matrix products of a network on a CPU.

torch passes over memory once per operation; these loops pass over it once for all of them, with derivatives written
out. They share their arrays with torch and run without the interpreter's lock. They have no second derivative.

Shapes: T time, B batch, D residual stream, M width of the MLP, K taps; rows may have any leading axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from charloom.kernels import cells, jit, masks, residual
from charloom.parameters import NORM_EPSILON

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt16
    from numpy import ndarray as Array
    from torch import Tensor

_NO_RESETS = np.zeros((0, 0), bool)


def fit(x: Tensor) -> bool:
    """Whether the loops accept a tensor: with Numba, on the CPU, in float32 or float64, outside an autocast.

    A graph that `torch.export` or `torch.compile` records cannot contain them: there, the torch forms run.
    """
    if torch.compiler.is_compiling():
        return False
    is_native = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return jit.HAS_NUMBA and is_native and not torch.is_autocast_enabled("cpu")


def array_in(x: Tensor) -> Array:
    """A tensor that a loop reads, as a C-contiguous array: its own memory, or a copy if it is laid out otherwise."""
    found: Array = x.detach().contiguous().numpy()
    return found


def array_out(x: Tensor) -> Array:
    """A tensor that a loop writes, as an array of its own memory.

    Raises:
        ValueError: it is not contiguous, so the loop would write to a copy.
    """
    if not x.is_contiguous():
        raise ValueError(f"a loop cannot write to a tensor with strides {x.stride()}")
    found: Array = x.detach().numpy()
    return found


def rows(x: Array) -> Array:
    """The array as (R, last axis)."""
    return x.reshape(-1, x.shape[-1])


def resets_in(resets: Bool[Tensor, "T B"] | None) -> Array:
    """Resets as the loops read them, with (0, 0) for none."""
    return _NO_RESETS if resets is None else array_in(resets)


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
    """RMSNorm and the causal convolution of its output, as `residual.convolve` computes it."""
    u, after = _NormConv.apply(x, gain, past, weight, bias, resets)  # type: ignore[no-untyped-call]
    return u, after


def drop(
    x: Float[Tensor, "T B W"], halves: UInt16[Array, "B n"], threshold: int, scale: float
) -> Float[Tensor, "T B W"]:
    """Dropout with given random numbers, as in `kernels.masks.drop`."""
    y: Tensor = _Drop.apply(x, halves, threshold, scale)  # type: ignore[no-untyped-call]
    return y


def mingru(
    a: Float[Tensor, "T B 2H"],
    bias: Float[Tensor, "2H"],
    h0: Float[Tensor, "B H"],
    resets: Bool[Tensor, "T B"] | None,
    reset_state: Float[Tensor, "B H"],
) -> Float[Tensor, "T B H"]:
    """Gates and scan of minGRU; `a` is W_ih x, because adding the bias inside the loop saves a copy of it per row."""
    h: Tensor = _MinGRU.apply(a, bias, h0, resets, reset_state)  # type: ignore[no-untyped-call]
    return h


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        x = x.contiguous()
        v, scales = torch.empty_like(x), x.new_empty(x.shape[:-1])
        values, factor = rows(array_in(x)), array_in(gain)
        epsilon = values.dtype.type(NORM_EPSILON)
        residual.norm_forward(values, factor, epsilon, rows(array_out(v)), array_out(scales).reshape(-1))
        ctx.save_for_backward(x, gain, scales)
        return v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_v: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, scales = ctx.saved_tensors
        d_x, d_gain = torch.empty_like(x), torch.zeros_like(gain)
        kept = rows(array_in(x)), array_in(gain), array_in(scales).reshape(-1)
        out = rows(array_out(d_x)), array_out(d_gain), np.empty_like(array_in(gain))
        residual.norm_backward(*kept, rows(array_in(d_v)), *out)
        return d_x, d_gain


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        y = torch.empty_like(gate)
        residual.swiglu_forward(rows(array_in(gate)), rows(array_in(up)), rows(array_out(y)))
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        g, u, d = (rows(array_in(x)) for x in (gate, up, d_y))
        d_g, d_u = rows(array_out(d_gate)), rows(array_out(d_up))
        residual.swiglu_backward(g, u, d, d_g, d_u, np.empty_like(g[0]))
        return d_gate, d_up


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, halves: Array, threshold: int, scale: float) -> Tensor:
        least, factor = np.uint16(threshold), array_in(x).dtype.type(scale)
        ctx.numbers = halves, least, factor
        y = x.new_empty(x.shape)
        masks.drop(array_in(x), halves, least, factor, array_out(y))
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        d_x = d_y.new_empty(d_y.shape)
        halves, least, factor = ctx.numbers
        masks.drop(array_in(d_y), halves, least, factor, array_out(d_x))
        return d_x, None, None, None


class _NormConv(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, gain: Tensor, past: Tensor, weight: Tensor, bias: Tensor, resets: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        (T, B, D), K = x.shape, weight.shape[1]
        x, taps = x.contiguous(), weight.t().contiguous()
        v, u, scales = x.new_empty(K - 1 + T, B, D), torch.empty_like(x), x.new_empty(T, B)
        v[: K - 1] = past.transpose(0, 1)
        age = np.full(B, K, np.int64)
        values, factor, weights, shift = (array_in(a) for a in (x, gain, taps, bias))
        epsilon, out = values.dtype.type(NORM_EPSILON), (array_out(a) for a in (v, scales, u))
        residual.norm_conv_forward(values, factor, epsilon, weights, shift, resets_in(resets), age, *out)
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
        given, kept = [array_in(a) for a in (x, gain, taps)], [array_in(a) for a in (v, scales, d_u)]
        out = [array_out(a) for a in (d_v, d_x, d_gain, d_taps, d_bias)]
        arrays = *given, resets_in(ctx.resets), *kept, *out, np.empty(x.shape[1], np.int64)
        residual.norm_conv_backward(*arrays)
        return d_x, d_gain, d_v[: K - 1].transpose(0, 1), d_taps.t(), d_bias, None


class _MinGRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, bias: Tensor, h0: Tensor, resets: Tensor | None, reset_state: Tensor
    ) -> Tensor:
        z, n, h = (a.new_empty(*a.shape[:2], a.shape[2] // 2) for _ in range(3))
        start = array_in(h0), resets_in(resets), array_in(reset_state)
        cells.mingru_forward(array_in(a), array_in(bias), start, *(array_out(x) for x in (z, n, h)))
        ctx.save_for_backward(z, n, h, h0, reset_state)
        ctx.resets = resets
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor | None, ...]:
        z, n, h, h0, reset_state = ctx.saved_tensors
        d_a, carried = z.new_empty(*z.shape[:2], 2 * z.shape[2]), torch.zeros_like(h[0])
        d_bias = z.new_zeros(d_a.shape[2])
        start = array_in(h0), resets_in(ctx.resets), array_in(reset_state)
        kept, out = (array_in(z), array_in(n), array_in(h)), (array_out(x) for x in (carried, d_a, d_bias))
        cells.mingru_backward(start, kept, array_in(d_h), *out)
        return d_a, d_bias, carried, None, None
