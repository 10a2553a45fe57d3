"""Elman, LSTM and GRU over a window on a CPU as one differentiable function: what `walks` need, and what they leave to do.

    a_t = W_ih x_t + b                                           (1)  for the whole window in one product; one-hot: a row for each character
    d_W_hh = Σ_t d_u_t h_{t-1}ᵀ,  d_W_ih = Σ_t d_a_t x_tᵀ        (2)  one product each, for the whole window

PyTorch's own CPU kernels fuse the gates of an LSTM in float32 alone, and copy the recurrent matrix at every time step; those of a GRU are
a dozen walks through memory.

Shapes: T time, B batch, X input size, H cell size, G blocks.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from charloom.config import ModelConfig
from charloom.engines.kernels.functions import ACTIVATIONS
from charloom.engines.torch import products, walks
from charloom.engines.torch.loops import array, marks

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from numpy import ndarray as Array
    from torch import Tensor


def unroll(
    config: ModelConfig,
    params: Mapping[str, Tensor],
    x: Tensor,
    state: Mapping[str, Tensor],
    resets: Bool[Tensor, "T B"] | None,
    fresh: Mapping[str, Tensor],
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Run the cell over a window; arguments as in `cells.unroll`."""
    kind = ACTIVATIONS[config.activation] if config.cell == "elman" else config.cell
    outputs, c = _Recurrence.apply(  # type: ignore[no-untyped-call]
        kind, resets, fresh, x, *(params.get(name) for name in _WEIGHTS), *(state.get(key) for key in "hc")
    )
    after = {"h": outputs[-1]}
    return outputs, after if c is None else after | {"c": c}


_WEIGHTS = ("w_ih", "w_hh", "bias", "bias_hn")


class _Rooms(threading.local):
    """Large arrays of one thread that nobody reads any more, for the next window of the same size.

    What is freed goes back to the system, and what is asked for anew comes page by page and emptied: of a window of an LSTM 2×512,
    batch 64 × 100, a tenth of its time.
    """

    def __init__(self) -> None:
        self.free: list[Tensor] = []

    def take(self, like: Tensor, *shape: int) -> Tensor:
        """An array of this shape, whatever it holds."""
        size = math.prod(shape)
        for i, x in enumerate(self.free):
            if x.dtype == like.dtype and x.numel() == size:
                return self.free.pop(i).view(shape)
        del self.free[:1]  # as many are held as were ever in use at once
        with torch.inference_mode(False):  # what an evaluation leaves, a training may write on
            return like.new_empty(shape)

    def give(self, *arrays: Tensor) -> None:
        """Take back what no one will read."""
        self.free += arrays


_rooms = _Rooms()


class _Track:
    """One state through a window: `values[t]` is before time step t and `values[t + 1]` after it; `read` is what step t sees."""

    def __init__(self, T: int, start: Tensor, resets: Bool[Tensor, "T B"] | None, fresh: Tensor) -> None:
        self.values = start.new_empty(T + 1, *start.shape)
        self.values[0] = start
        self.read = self.values[:-1] if resets is None else torch.empty_like(self.values[1:])
        self.fresh = fresh

    def arrays(self) -> tuple[Array, Array, Array]:
        """(Fresh, values, read) as a walk takes them."""
        return array(self.fresh), array(self.values), array(self.read)


class _Window:
    """A window read forwards: its states, and what the way back wants to know of the gates; arguments as for `_Recurrence`."""

    def __init__(
        self,
        kind: str | int,
        resets: Tensor | None,
        fresh: Mapping[str, Tensor],
        x: Tensor,
        w_ih: Tensor,
        w_hh: Tensor,
        bias: Tensor,
        bias_hn: Tensor | None,
        h0: Tensor,
        c0: Tensor | None,
    ) -> None:
        T, B = x.shape[:2]
        self.h = _Track(T, h0, resets, fresh["h"])
        self.c = None if c0 is None else _Track(T, c0, resets, fresh["c"])
        self.gates = _rooms.take(h0, T, B, len(w_hh))
        self.m = _rooms.take(h0, T, B, h0.shape[1]) if kind == "gru" else None
        if _is_one_hot(x):
            projected = w_ih.t().contiguous()
        else:  # where they stand the gates will stand: nobody reads a row of its own again
            projected = torch.mm(x.flatten(0, 1), w_ih.t(), out=self.gates.view(T * B, -1))  # (1)
        w = products.laid_out(w_hh, transposed=True)
        inputs, h = (array(projected), array(bias), _rows(x), w, marks(resets)), self.h.arrays()
        if isinstance(kind, int):
            _walk(walks.elman_forward, w_hh.dtype, kind, inputs, h)
        elif kind == "gru":
            assert bias_hn is not None
            assert self.m is not None
            _walk(walks.gru_forward, w_hh.dtype, inputs, h, array(bias_hn), array(self.gates), array(self.m))
        else:
            assert self.c is not None
            _walk(walks.lstm_forward, w_hh.dtype, inputs, h, self.c.arrays(), array(self.gates))

    def done(self) -> None:
        """Nobody reads the gates again."""
        _rooms.give(*(x for x in (self.gates, self.m) if x is not None))


class _Recurrence(torch.autograd.Function):
    """(kind, resets, fresh, x, w_ih, w_hh, bias, bias_hn, h0, c0) → (h of every time step, the last c).

    The kind is ``lstm``, ``gru``, or the number of an elman network's activation.
    """

    @staticmethod
    def forward(
        ctx: Any, kind: str | int, resets: Tensor | None, fresh: Mapping[str, Tensor], *tensors: Any
    ) -> tuple[Tensor, Tensor | None]:
        window = _Window(kind, resets, fresh, *tensors)
        if any(ctx.needs_input_grad):
            ctx.kind, ctx.resets, ctx.fresh, ctx.window = kind, resets, fresh, window
            ctx.save_for_backward(*tensors)
        else:
            window.done()
        return window.h.values[1:], None if window.c is None else window.c.values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor, d_c: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, *_ = ctx.saved_tensors
        # whoever goes back a second time finds the gates gone
        window: Any = ctx.window or _Window(ctx.kind, ctx.resets, ctx.fresh, *ctx.saved_tensors)
        ctx.window = None
        carried, d_a = d_h.new_zeros(d_h.shape[1:]), _rooms.take(d_h, *d_h.shape[:2], len(w_hh))
        d_u, d_bias_hn = d_a, None
        d_bias = d_h.new_zeros(len(w_hh))
        d_rows = d_h.new_zeros((w_ih.shape[1], len(w_hh)) if _is_one_hot(x) else (0, 0))
        gates, read = array(window.gates), array(window.h.read)
        ways = _rows(x), products.laid_out(w_hh), marks(ctx.resets), array(d_h), array(carried)
        found = array(d_a), array(d_bias), array(d_rows)
        if ctx.kind == "gru":
            d_u = _rooms.take(d_h, *d_a.shape)
            _walk(walks.gru_backward, w_hh.dtype, gates, array(window.m), read, array(d_u), ways, found)
            d_bias_hn = d_u[:, :, 2 * d_h.shape[2] :].sum((0, 1))
        elif ctx.kind == "lstm":
            assert d_c is not None
            d_c = d_c.clone(memory_format=torch.contiguous_format)
            _walk(walks.lstm_backward, w_hh.dtype, gates, window.c.arrays(), array(d_c), ways, found)
        else:
            _walk(walks.elman_backward, w_hh.dtype, ctx.kind, array(window.h.values), ways, found)
        flat = d_a.flatten(0, 1)
        d_w_hh = d_u.flatten(0, 1).t() @ window.h.read.flatten(0, 1)  # (2)
        if _is_one_hot(x):
            d_x, d_w_ih = None, d_rows.t()
        else:
            d_x = (flat @ w_ih).view(x.shape) if ctx.needs_input_grad[3] else None
            d_w_ih = flat.t() @ x.flatten(0, 1)  # (2)
        window.done()
        _rooms.give(d_a, *([] if d_u is d_a else [d_u]))
        return None, None, None, d_x, d_w_ih, d_w_hh, d_bias, d_bias_hn, carried, d_c


def _walk(walk: Any, dtype: torch.dtype, *arguments: Any) -> None:
    """Compiled as a whole, or by the same lines in Python."""
    (walk if products.are_compiled(dtype) else walk.py_func)(*arguments)


def _is_one_hot(x: Tensor) -> bool:
    return x.dtype == torch.int64


def _rows(x: Tensor) -> Int[Array, "T B"]:
    """Which row of the projected inputs each time step reads: its character's, or its own."""
    return array(x) if _is_one_hot(x) else np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
