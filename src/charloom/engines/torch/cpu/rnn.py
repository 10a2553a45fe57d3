"""Elman, LSTM and GRU over a window on a CPU, as one differentiable function.

    a_x_t = W_ih x_t + b                                    (1)  one product per window; one-hot: a row per character
    d_W_hh = Σ_t d_u_t h_{t-1}ᵀ,  d_W_ih = Σ_t d_a_t x_tᵀ   (2)  one product each per window

The time steps between (1) and (2) are compiled: `kernels/native/rnn_window.c`. PyTorch's own CPU kernels fuse the gates
of an LSTM in float32 only, and copy the recurrent matrix at every time step; those of a GRU make a dozen passes over
memory.

Shapes: T time, B batch, X input size, H cell size, G gate blocks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from ctypes import Structure, byref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from charloom.config import ModelConfig
from charloom.engines.torch.cpu import gemm
from charloom.engines.torch.cpu.ops import array_in, array_out, native
from charloom.kernels.library import ACTIVATIONS, CELLS, struct

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array
    from torch import Tensor

_WEIGHTS = ("w_ih", "w_hh", "bias", "bias_hn")


def unroll(
    config: ModelConfig,
    params: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    resets: Bool[Tensor, "T B"] | None,
    reset_state: Mapping[str, Tensor],
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Run the cell over a window; arguments as in `cells.unroll`."""
    kind = ACTIVATIONS[config.activation] if config.cell == "elman" else config.cell
    weights, start = (params.get(name) for name in _WEIGHTS), (state.get(key) for key in "hc")
    outputs, c = _Rnn.apply(kind, resets, reset_state, x, *weights, *start)  # type: ignore[no-untyped-call]
    after = {"h": outputs[-1]}
    return outputs, after if c is None else after | {"c": c}


class _Rnn(torch.autograd.Function):
    """(kind, resets, reset_state, x, w_ih, w_hh, bias, bias_hn, h0, c0) → (h of every time step, the last c).

    The kind is ``lstm``, ``gru``, or the number of an Elman network's activation.
    """

    @staticmethod
    def forward(
        ctx: Any, kind: str | int, resets: Tensor | None, reset_state: Mapping[str, Tensor], *tensors: Any
    ) -> tuple[Tensor, Tensor | None]:
        window = _Window(kind, resets, reset_state, *tensors)
        native("rnn_forward", window.gates.dtype)(byref(window.to_fill(*tensors)))
        if any(ctx.needs_input_grad):
            ctx.settings, ctx.window = (kind, resets, reset_state), window
            ctx.save_for_backward(*tensors)
        else:
            window.free()
        return window.h.values[1:], None if window.c is None else window.c.values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor, d_c: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, *_ = ctx.saved_tensors
        window: Any = ctx.window
        if window is None:  # a second backward pass: the gates were freed after the first
            window = _Window(*ctx.settings, *ctx.saved_tensors)
            native("rnn_forward", window.gates.dtype)(byref(window.to_fill(*ctx.saved_tensors)))
        ctx.window = None
        carried, d_a = d_h.new_zeros(d_h.shape[1:]), _buffers.take(d_h, *d_h.shape[:2], len(w_hh))
        d_u, d_bias_hn = d_a, None
        d_bias = d_h.new_zeros(len(w_hh))
        d_rows = d_h.new_zeros((w_ih.shape[1], len(w_hh)) if _is_one_hot(x) else (0, 0))
        if window.kind == "gru":
            d_u = _buffers.take(d_h, *d_a.shape)
        if d_c is not None:
            d_c = d_c.clone(memory_format=torch.contiguous_format)
        gradients = _Gradients(d_h, carried, d_c, d_a, d_u, d_bias, d_rows)
        native("rnn_backward", w_hh.dtype)(byref(window.with_gradients(x, w_hh, gradients)))
        if window.kind == "gru":
            d_bias_hn = d_u[:, :, 2 * d_h.shape[2] :].sum((0, 1))
        flat = d_a.flatten(0, 1)
        d_w_hh = gemm.product(d_u.flatten(0, 1), window.h.read.flatten(0, 1), transpose_a=True)  # (2)
        if _is_one_hot(x):
            d_x, d_w_ih = None, d_rows.t()
        else:
            d_x = gemm.product(flat, w_ih).view(x.shape) if ctx.needs_input_grad[3] else None
            d_w_ih = gemm.product(flat, x.flatten(0, 1), transpose_a=True)  # (2)
        window.free()
        _buffers.give(d_a, *([] if d_u is d_a else [d_u]))
        return None, None, None, d_x, d_w_ih, d_w_hh, d_bias, d_bias_hn, carried, d_c


class _Gradients(NamedTuple):
    """The gradient in the outputs, and the tensors that a backward pass writes or changes."""

    d_h: Tensor
    carried: Tensor
    d_c: Tensor | None
    d_a: Tensor
    d_u: Tensor
    d_bias: Tensor
    d_rows: Tensor


class _Window:
    """The states and gates of one window; arguments as for `_Rnn`."""

    def __init__(
        self, kind: str | int, resets: Tensor | None, reset_state: Mapping[str, Tensor], *tensors: Any
    ) -> None:
        x, _, w_hh, _, _, h0, c0 = tensors
        T, B = x.shape[:2]
        self.kind, self.resets = kind, resets
        self.h = _StateHistory(T, h0, resets, reset_state["h"])
        self.c: Any = None if c0 is None else _StateHistory(T, c0, resets, reset_state["c"])
        self.gates = _buffers.take(h0, T, B, len(w_hh))
        self.m: Any = _buffers.take(h0, T, B, h0.shape[1]) if kind == "gru" else None

    def to_fill(self, *tensors: Any) -> Structure:
        """The struct with which the compiled function fills the states and gates."""
        x, w_ih, w_hh, bias, bias_hn, *_ = tensors
        if _is_one_hot(x):
            projected = w_ih.t().contiguous()
        else:  # the gates will overwrite it: each row is read once
            gates = self.gates.view(-1, len(w_hh))
            projected = gemm.product(x.flatten(0, 1), w_ih, transpose_b=True, out=gates)  # (1)
        arrays = self._arrays(x) | gemm.right_factor(w_hh, x.shape[1], transposed=True)
        arrays |= {"x": array_in(projected), "bias": array_in(bias)}
        arrays |= {"room": array_out(torch.empty_like(self.gates[0]))}
        if bias_hn is not None:
            arrays["bias_hn"] = array_in(bias_hn)
        return struct("Window", **arrays)

    def with_gradients(self, x: Tensor, w_hh: Tensor, gradients: _Gradients) -> Structure:
        """The struct with which the compiled function fills the gradients."""
        g = gradients
        arrays = self._arrays(x) | gemm.right_factor(w_hh, x.shape[1])
        arrays |= {"d_h": array_in(g.d_h), "carried": array_out(g.carried), "d_a": array_out(g.d_a)}
        arrays |= {"d_u": array_out(g.d_u), "d_bias": array_out(g.d_bias)}
        arrays |= {"room": array_out(torch.empty_like(g.d_bias))}
        if g.d_rows.numel():
            arrays["d_x"] = array_out(g.d_rows)
        if g.d_c is not None:
            arrays["d_c"] = array_out(g.d_c)
        return struct("Window", **arrays)

    def _arrays(self, x: Tensor) -> dict[str, Any]:
        """What both passes take."""
        (T, B, gates), H = self.gates.shape, self.h.values.shape[2]
        kind = CELLS["elman"] if isinstance(self.kind, int) else CELLS[self.kind]
        found: dict[str, Any] = {"cell": kind, "T": T, "B": B, "H": H, "gates": gates}
        found["activation"] = self.kind if isinstance(self.kind, int) else 0
        found |= {"rows": _row_numbers(x), "kept": array_out(self.gates)}
        if self.resets is not None:
            found["resets"] = array_in(self.resets)
        for name, history in (("h", self.h), ("c", self.c)):
            if history is not None:
                reset_state, values, read = history.arrays()
                found |= {f"reset_{name}": reset_state, name: values, f"read_{name}": read}
        if self.m is not None:
            found["m"] = array_out(self.m)
        return found

    def free(self) -> None:
        """Give the gates' memory back: nothing reads them again."""
        _buffers.give(*(x for x in (self.gates, self.m) if x is not None))


class _StateHistory:
    """One state over a window: `values[t]` before time step t, `values[t + 1]` after it; step t reads `read[t]`."""

    def __init__(self, T: int, start: Tensor, resets: Tensor | None, reset_state: Tensor) -> None:
        self.values = start.new_empty(T + 1, *start.shape)
        self.values[0] = start
        self.read = self.values[:-1] if resets is None else torch.empty_like(self.values[1:])
        self.reset_state = reset_state

    def arrays(self) -> tuple[Array, Array, Array]:
        """(Reset state, values, read), as the loops take them."""
        return array_in(self.reset_state), array_out(self.values), array_out(self.read)


class _Buffers(threading.local):
    """Large arrays of one thread, kept for the next window of the same size.

    Freed memory would return to the system and come back page by page, each cleared first: a tenth of the time of an
    LSTM 2×512 with a batch of 64 × 100.
    """

    def __init__(self) -> None:
        self.free: list[Tensor] = []

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """An array of this shape; its contents are undefined."""
        size = math.prod(shape)
        for i, x in enumerate(self.free):
            if x.dtype == like.dtype and x.numel() == size:
                return self.free.pop(i).view(shape)
        del self.free[:1]  # as many are kept as were ever in use at once
        with torch.inference_mode(False):  # training may write to an array that an evaluation leaves here
            return like.new_empty(shape)

    def give(self, *arrays: Tensor) -> None:
        """Take back arrays that nothing will read."""
        self.free += arrays


_buffers = _Buffers()


def _is_one_hot(x: Tensor) -> bool:
    return x.dtype == torch.int64


def _row_numbers(x: Tensor) -> Int[Array, "T B"]:
    """The row of the projected inputs that each time step reads: its character's, or its own."""
    return array_in(x) if _is_one_hot(x) else np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
