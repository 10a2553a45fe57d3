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


class _Recurrence(torch.autograd.Function):
    """(kind, resets, fresh, x, w_ih, w_hh, bias, bias_hn, h0, c0) → (h of every time step, the last c).

    The kind is ``lstm``, ``gru``, or the number of an elman network's activation.
    """

    @staticmethod
    def forward(
        ctx: Any,
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
    ) -> tuple[Tensor, Tensor | None]:
        T, B = x.shape[:2]
        h = _Track(T, h0, resets, fresh["h"])
        c = None if c0 is None else _Track(T, c0, resets, fresh["c"])
        one_hot = _is_one_hot(x)
        projected = (w_ih.t() if one_hot else x.flatten(0, 1) @ w_ih.t()).contiguous()  # (1)
        # nobody reads a row of its own again once its gates are there
        kept = h0.new_empty(T, B, len(w_hh)) if one_hot else projected.view(T, B, -1)
        m = torch.empty_like(h.values[1:]) if kind == "gru" else h0.new_empty(0)
        w = _laid_out(w_hh, transposed=True)
        given = array(projected), array(bias), _rows(x), w, marks(resets), *h.arrays()
        if isinstance(kind, int):
            _walk(walks.elman_forward, kind, *given)
            kept = h0.new_empty(0)
        elif kind == "gru":
            assert bias_hn is not None
            _walk(walks.gru_forward, *given, array(bias_hn), array(kept), array(m))
        else:
            assert c is not None
            _walk(walks.lstm_forward, *given, *c.arrays(), array(kept))
        ctx.kind, ctx.resets = kind, resets
        tracks = (h.values, h.read) + (() if c is None else (c.values, c.read))
        ctx.save_for_backward(x, w_ih, w_hh, kept, m, *tracks)
        return h.values[1:], None if c is None else c.values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor, d_c: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, kept, m, *tracks = ctx.saved_tensors
        h, read = tracks[:2]
        one_hot = _is_one_hot(x)
        carried, d_a = d_h.new_zeros(d_h.shape[1:]), _desk("a", (*d_h.shape[:2], len(w_hh)), d_h)
        d_u, d_bias_hn = d_a, None
        d_bias = d_h.new_zeros(len(w_hh))
        d_rows = d_h.new_zeros((w_ih.shape[1], len(w_hh)) if one_hot else (0, 0))
        ways = _rows(x), _laid_out(w_hh), marks(ctx.resets), array(d_h), array(carried)
        found = array(d_a), array(d_bias), array(d_rows)
        if ctx.kind == "gru":
            d_u = _desk("u", d_a.shape, d_h)
            _walk(walks.gru_backward, array(kept), array(m), array(read), *ways, array(d_u), *found)
            d_bias_hn = d_u[:, :, 2 * d_h.shape[2] :].sum((0, 1))
        elif ctx.kind == "lstm":
            assert d_c is not None
            d_c = d_c.clone(memory_format=torch.contiguous_format)
            cells = [array(y) for y in tracks[2:]]
            _walk(walks.lstm_backward, array(kept), *cells, *ways, array(d_c), *found)
        else:
            _walk(walks.elman_backward, ctx.kind, array(h), *ways, *found)
        flat = d_a.flatten(0, 1)
        d_w_hh = d_u.flatten(0, 1).t() @ read.flatten(0, 1)  # (2)
        if one_hot:
            return None, None, None, None, d_rows.t(), d_w_hh, d_bias, d_bias_hn, carried, d_c
        d_x = (flat @ w_ih).view(x.shape) if ctx.needs_input_grad[3] else None
        d_w_ih = flat.t() @ x.flatten(0, 1)  # (2)
        return None, None, None, d_x, d_w_ih, d_w_hh, d_bias, d_bias_hn, carried, d_c


_desks = threading.local()


def _desk(name: str, shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Room that a thread has for itself and uses again: a new one of this size would be handed out, and emptied, page by page each time."""
    desk: Tensor | None = getattr(_desks, name, None)
    size = math.prod(shape)
    if desk is None or desk.dtype != like.dtype or len(desk) < size:
        desk = like.new_empty(size)
        setattr(_desks, name, desk)
    return desk[:size].view(shape)


def _walk(walk: Any, *arguments: Any) -> None:
    """Compiled as a whole, or by the same lines in Python."""
    (walk if products.are_compiled() else walk.py_func)(*arguments)


def _laid_out(w: Tensor, *, transposed: bool = False) -> Array:
    """A matrix as the products of a walk read it fastest; torch's own lay it out anew each time, however it lies."""
    if products.are_compiled():
        return products.spread(w, transposed=transposed)
    found: Array = (w.t() if transposed else w).detach().numpy()
    return found


def _is_one_hot(x: Tensor) -> bool:
    return x.dtype == torch.int64


def _rows(x: Tensor) -> Int[Array, "T B"]:
    """Which row of the projected inputs each time step reads: its character's, or its own."""
    return array(x) if _is_one_hot(x) else np.arange(x.shape[0] * x.shape[1]).reshape(x.shape[:2])
