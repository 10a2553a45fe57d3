"""Elman, LSTM and GRU over a window on a CPU: products by torch, everything between them compiled, derivatives written out.

    a_t = W_ih x_t + b                 (1)  for the whole window in one product (a row look-up where x is one-hot)
    u_t = W_hh h_{t-1}                 (2)  a product a time step, then the loop of `kernels.gates`
    d_h_{t-1} ← d_h_{t-1} + W_hhᵀ d_u_t     (3)  backwards: the gates' derivative, then a product
    d_W_hh = Σ_t d_u_t h_{t-1}ᵀ,  d_W_ih = Σ_t d_a_t x_tᵀ        (4)  one product each, for the whole window

PyTorch's own CPU kernels fuse the gates of an LSTM in float32 alone; those of a GRU are a dozen walks through memory.

Shapes: T time, B batch, X input size, H cell size, G blocks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.kernels import gates
from charloom.engines.kernels.functions import ACTIVATIONS
from charloom.engines.torch.loops import array

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

ONE_HOT_LIMIT = 512
"""Up to this vocabulary the gradient of a row look-up is a product with dense one-hot vectors; beyond it rows are added up."""


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


def project(x: Tensor, w_ih: Float[Tensor, "GH X"], bias: Float[Tensor, "GH"]) -> Float[Tensor, "T B GH"]:
    """Equation (1): one product, or a row look-up where `x` holds ids (T, B)."""
    if x.dtype == torch.int64:
        return F.embedding(x, w_ih.t() + bias)
    return F.linear(x, w_ih, bias)


class _Track:
    """One state through a window: `values[t]` is before time step t and `values[t + 1]` after it; `read` is what step t sees."""

    def __init__(self, T: int, start: Tensor, resets: Bool[Tensor, "T B"] | None, fresh: Tensor) -> None:
        self.values = start.new_empty(T + 1, *start.shape)
        self.values[0] = start
        self.resets, self.fresh = resets, fresh
        self.read = self.values[:-1] if resets is None else torch.empty_like(self.values[1:])

    def begin(self, t: int) -> Tensor:
        """What time step t reads: the state before it, in rows that begin anew the fresh one."""
        if self.resets is not None:
            torch.where(self.resets[t].unsqueeze(1), self.fresh, self.values[t], out=self.read[t])
        return self.read[t]


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
        a = project(x, w_ih, bias).contiguous()
        h = _Track(len(a), h0, resets, fresh["h"])
        c = None if c0 is None else _Track(len(a), c0, resets, fresh["c"])
        if isinstance(kind, int):
            kept = _elman_forward(kind, a, w_hh, h)
        elif kind == "gru":
            assert bias_hn is not None
            kept = _gru_forward(a, w_hh, bias_hn, h)
        else:
            assert c is not None
            kept = _lstm_forward(a, w_hh, h, c)
        ctx.kind, ctx.resets = kind, resets
        tracks = (h.values, h.read) + (() if c is None else (c.values, c.read))
        ctx.save_for_backward(x, w_ih, w_hh, *kept, *tracks)
        return h.values[1:], None if c is None else c.values[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor, d_c: Tensor | None) -> tuple[Tensor | None, ...]:
        x, w_ih, w_hh, *saved = ctx.saved_tensors
        d_h, carried = d_h.contiguous(), torch.zeros_like(d_h[0])
        d_a = d_h.new_empty(*d_h.shape[:2], len(w_hh))
        d_u, d_bias_hn = d_a, None
        if ctx.kind == "gru":
            kept, m, _, read = saved
            d_u = torch.empty_like(d_a)
            _gru_backward(kept, m, read, w_hh, ctx.resets, d_h, carried, d_a, d_u)
            d_bias_hn = d_u[:, :, 2 * d_h.shape[2] :].sum((0, 1))
        elif ctx.kind == "lstm":
            assert d_c is not None
            kept, _, read, c, c_read = saved
            d_c = d_c.clone(memory_format=torch.contiguous_format)
            _lstm_backward(kept, c_read, c, w_hh, ctx.resets, d_h, carried, d_c, d_a)
        else:
            h, read = saved
            _elman_backward(ctx.kind, h, w_hh, ctx.resets, d_h, carried, d_a)
        flat = d_a.flatten(0, 1)
        d_w_hh = d_u.flatten(0, 1).t() @ read.flatten(0, 1)  # (4)
        d_x, d_w_ih = _pull_back_projection(x, w_ih, flat, wanted=ctx.needs_input_grad[3])
        return None, None, None, d_x, d_w_ih, d_w_hh, flat.sum(0), d_bias_hn, carried, d_c


def _elman_forward(activation: int, a: Tensor, w_hh: Tensor, h: _Track) -> tuple[Tensor, ...]:
    u, w, values = torch.empty_like(a[0]), w_hh.t(), array(h.values)
    for t in range(len(a)):
        torch.addmm(a[t], h.begin(t), w, out=u)  # (2)
        gates.elman_forward(activation, array(u), values[t + 1])
    return ()


def _elman_backward(
    activation: int,
    h: Tensor,
    w_hh: Tensor,
    resets: Tensor | None,
    d_h: Tensor,
    carried: Tensor,
    d_a: Tensor,
) -> None:
    values, above, behind, d_as = (array(y) for y in (h, d_h, carried, d_a))
    for t in reversed(range(len(d_a))):
        gates.elman_backward(activation, values[t + 1], above[t], behind, d_as[t])
        torch.mm(d_a[t], w_hh, out=carried)  # (3)
        _cut(resets, t, carried)


def _lstm_forward(a: Tensor, w_hh: Tensor, h: _Track, c: _Track) -> tuple[Tensor, ...]:
    u, w, kept = torch.empty_like(a[0]), w_hh.t(), torch.empty_like(a)
    sums, i_f_g_o, hs, cs, read = (array(y) for y in (u, kept, h.values, c.values, c.read))
    for t in range(len(a)):
        torch.addmm(a[t], h.begin(t), w, out=u)  # (2)
        c.begin(t)
        gates.lstm_forward(sums, read[t], i_f_g_o[t], cs[t + 1], hs[t + 1])
    return (kept,)


def _lstm_backward(
    kept: Tensor,
    c_read: Tensor,
    c: Tensor,
    w_hh: Tensor,
    resets: Tensor | None,
    d_h: Tensor,
    carried: Tensor,
    d_c: Tensor,
    d_a: Tensor,
) -> None:
    i_f_g_o, read, cs, above = (array(y) for y in (kept, c_read, c, d_h))
    behind, d_cell, d_as = (array(y) for y in (carried, d_c, d_a))
    room = np.empty_like(above[0, 0])
    for t in reversed(range(len(d_a))):
        gates.lstm_backward(i_f_g_o[t], read[t], cs[t + 1], above[t], behind, d_cell, d_as[t], room)
        torch.mm(d_a[t], w_hh, out=carried)  # (3)
        _cut(resets, t, carried, d_c)


def _gru_forward(a: Tensor, w_hh: Tensor, bias_hn: Tensor, h: _Track) -> tuple[Tensor, ...]:
    u, w, kept, m = torch.empty_like(a[0]), w_hh.t(), torch.empty_like(a), torch.empty_like(h.values[1:])
    sums, b_hn, projected, r_z_n, ms = (array(y) for y in (u, bias_hn, a, kept, m))
    values, read = array(h.values), array(h.read)
    for t in range(len(a)):
        torch.mm(h.begin(t), w, out=u)  # (2)
        gates.gru_forward(projected[t], sums, b_hn, read[t], r_z_n[t], ms[t], values[t + 1])
    return (kept, m)


def _gru_backward(
    kept: Tensor,
    m: Tensor,
    h_read: Tensor,
    w_hh: Tensor,
    resets: Tensor | None,
    d_h: Tensor,
    carried: Tensor,
    d_a: Tensor,
    d_u: Tensor,
) -> None:
    r_z_n, ms, read, above, behind, d_as, d_us = (array(y) for y in (kept, m, h_read, d_h, carried, d_a, d_u))
    for t in reversed(range(len(d_a))):
        gates.gru_backward(r_z_n[t], ms[t], read[t], above[t], behind, d_as[t], d_us[t])
        carried.addmm_(d_u[t], w_hh)  # (3)
        _cut(resets, t, carried)


def _cut(resets: Tensor | None, t: int, *gradients: Tensor) -> None:
    """Let nothing through to the time step before a row begins anew."""
    if resets is not None:
        for gradient in gradients:
            gradient.masked_fill_(resets[t].unsqueeze(1), 0.0)


def _pull_back_projection(
    x: Tensor, w_ih: Float[Tensor, "GH X"], d_a: Float[Tensor, "R GH"], *, wanted: bool
) -> tuple[Tensor | None, Tensor]:
    """The gradients of (1) in its input, where it is wanted, and in its weights."""
    if x.dtype != torch.int64:
        return (d_a @ w_ih).view(x.shape) if wanted else None, d_a.t() @ x.flatten(0, 1)
    V, ids = w_ih.shape[1], x.flatten()
    if V <= ONE_HOT_LIMIT:
        return None, d_a.t() @ F.one_hot(ids, V).to(d_a.dtype)
    return None, w_ih.new_zeros(V, len(w_ih)).index_add_(0, ids, d_a).t()
