"""Compiled loops as differentiable functions: the work between the matrix products of a network on a CPU.

torch passes over memory once per operation; these loops pass over it once for all of them, with derivatives written
out. They share their arrays with torch and run without the interpreter's lock. They have no second derivative.

Shapes: T time, B batch, D residual stream, M width of the MLP, K taps; rows may have any leading axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ctypes import Structure, byref
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from charloom.kernels.library import library, pointer, struct

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, UInt16
    from numpy import ndarray as Array
    from torch import Tensor


def fit(x: Tensor) -> bool:
    """Whether the compiled kernels are here and take a tensor: on the CPU, float32 or float64, outside an autocast.

    A graph that `torch.export` or `torch.compile` records cannot contain them: there, the torch forms run.
    """
    if torch.compiler.is_compiling():
        return False
    is_native = x.device.type == "cpu" and x.dtype in (torch.float32, torch.float64)
    return library() is not None and is_native and not torch.is_autocast_enabled("cpu")


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


def native(name: str, dtype: torch.dtype) -> Callable[..., None]:
    """A compiled function for a type of numbers."""
    compiled = library()
    assert compiled is not None
    return compiled.function(name, "float64" if dtype == torch.float64 else "float32")


def call(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a compiled function for a type of numbers; arrays and structs are handed over by their address."""
    passed = (
        pointer(x) if isinstance(x, np.ndarray) else byref(x) if isinstance(x, Structure) else x
        for x in arguments
    )
    native(name, dtype)(*passed)


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
        arrays = array_in(x), array_in(gain), array_out(v), array_out(scales)
        call("norm_forward", x.dtype, *arrays, scales.numel(), x.shape[-1])
        ctx.save_for_backward(x, gain, scales)
        return v

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_v: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, scales = ctx.saved_tensors
        d_x, d_gain = torch.empty_like(x), torch.zeros_like(gain)
        kept = array_in(x), array_in(gain), array_in(scales), array_in(d_v)
        out = array_out(d_x), array_out(d_gain), np.empty_like(array_in(gain))
        call("norm_backward", x.dtype, *kept, *out, scales.numel(), x.shape[-1])
        return d_x, d_gain


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        gate, up = gate.contiguous(), up.contiguous()
        y = torch.empty_like(gate)
        call("swiglu_forward", y.dtype, array_in(gate), array_in(up), array_out(y), y.numel())
        ctx.save_for_backward(gate, up)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        d_gate, d_up = torch.empty_like(gate), torch.empty_like(up)
        arrays = [*(array_in(x) for x in (gate, up, d_y)), array_out(d_gate), array_out(d_up)]
        call("swiglu_backward", gate.dtype, *arrays, gate.numel())
        return d_gate, d_up


class _Drop(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, halves: Array, threshold: int, scale: float) -> Tensor:
        ctx.numbers = halves, threshold, scale
        return _dropped(x, *ctx.numbers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_y: Tensor) -> tuple[Tensor | None, ...]:
        return _dropped(d_y, *ctx.numbers), None, None, None


def _dropped(x: Tensor, halves: Array, threshold: int, scale: float) -> Tensor:
    y, (T, B, W) = x.new_empty(x.shape), x.shape
    stride, each = halves.strides[0] // halves.itemsize, halves.shape[1] // T
    drawn = halves.ctypes.data, stride, each, threshold, scale
    call("drop", x.dtype, array_in(x), *drawn, array_out(y), T, B, W)
    return y


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
        arrays = {"x": x, "gain": gain, "taps": taps, "bias": bias}
        out = {"v": v, "scales": scales, "u": u}
        call("norm_conv_forward", x.dtype, _convolution(x, K, resets, age, arrays, out))
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
        arrays = {"x": x, "gain": gain, "taps": taps, "v": v, "scales": scales, "d_u": d_u}
        out = {"d_v": d_v, "d_x": d_x, "d_gain": d_gain, "d_taps": d_taps, "d_bias": d_bias}
        age = np.empty(x.shape[1], np.int64)
        call("norm_conv_backward", x.dtype, _convolution(x, K, ctx.resets, age, arrays, out))
        return d_x, d_gain, d_v[: K - 1].transpose(0, 1), d_taps.t(), d_bias, None


def _convolution(
    x: Tensor,
    K: int,
    resets: Tensor | None,
    age: Array,
    arrays: Mapping[str, Tensor],
    out: Mapping[str, Tensor],
) -> Structure:
    fields: dict[str, Any] = {name: array_in(a) for name, a in arrays.items()}
    fields |= {name: array_out(a) for name, a in out.items()}
    fields |= {} if resets is None else {"resets": array_in(resets)}
    T, B, D = x.shape
    return struct("Convolution", T=T, B=B, D=D, K=K, age=age, **fields)


class _MinGRU(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, a: Tensor, bias: Tensor, h0: Tensor, resets: Tensor | None, reset_state: Tensor
    ) -> Tensor:
        z, n, h = (a.new_empty(*a.shape[:2], a.shape[2] // 2) for _ in range(3))
        arrays = {"a": a, "bias": bias, "h0": h0, "reset_state": reset_state}
        call("mingru_forward", a.dtype, _scan(h, resets, arrays, {"z": z, "n": n, "h": h}))
        ctx.save_for_backward(z, n, h, h0, reset_state)
        ctx.resets = resets
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor | None, ...]:
        z, n, h, h0, reset_state = ctx.saved_tensors
        d_a, carried = z.new_empty(*z.shape[:2], 2 * z.shape[2]), torch.zeros_like(h[0])
        d_bias = z.new_zeros(d_a.shape[2])
        arrays = {"z": z, "n": n, "h": h, "h0": h0, "reset_state": reset_state, "d_h": d_h}
        out = {"carried": carried, "d_a": d_a, "d_bias": d_bias, "room": torch.empty_like(d_bias)}
        call("mingru_backward", z.dtype, _scan(h, ctx.resets, arrays, out))
        return d_a, d_bias, carried, None, None


def _scan(
    h: Tensor, resets: Tensor | None, arrays: Mapping[str, Tensor], out: Mapping[str, Tensor]
) -> Structure:
    fields: dict[str, Any] = {name: array_in(a) for name, a in arrays.items()}
    fields |= {name: array_out(a) for name, a in out.items()}
    fields |= {} if resets is None else {"resets": array_in(resets)}
    T, B, H = h.shape
    return struct("Scan", T=T, B=B, H=H, **fields)
