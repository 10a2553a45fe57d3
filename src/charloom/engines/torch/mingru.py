"""Minimal gated recurrent unit: one time step, and a whole window as a linear scan.

    a_t = W_ih x_t + b                     (1)  two blocks: a_z, a_n
    z = σ(a_z)                             (2)  update gate; reads no state
    n = g(a_n)                             (3)  g(a) = a + 0.5 where a ≥ 0, else σ(a)
    h_t = (1 − z) ⊙ h_{t-1} + z ⊙ n        (4)  here z writes

Source: Feng et al. (2024), "Were RNNs all we needed?", in its linear form: (4) is summed as it stands, never in
logarithms, and never below float32.
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor


def candidate(a: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The positive, continuous g of (3)."""
    return torch.where(a >= 0, a + 0.5, torch.sigmoid(a))


def step(
    params: Mapping[str, Tensor],  # noqa: ARG001 - every cell's step has the same arguments
    a_x: Float[Tensor, "B 2H"],
    prev: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Advance one time step; `a_x` is (1)."""
    a_z, a_n = a_x.chunk(2, dim=1)
    z, n = torch.sigmoid(a_z), candidate(a_n)  # (2), (3)
    return {"h": (1 - z) * prev["h"] + z * n}  # (4)


def scan(
    a_x: Float[Tensor, "T B 2H"],
    state: Mapping[str, Tensor],
    resets: Bool[Tensor, "T B"] | None,
    fresh: Mapping[str, Tensor],
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """The same function over a whole window; `a_x` is (1) at every time step, resets return a row to `fresh`."""
    a_x = a_x.float() if a_x.dtype in (torch.bfloat16, torch.float16) else a_x
    h0, begin = state["h"].to(a_x.dtype), fresh["h"].to(a_x.dtype)
    a_z, a_n = a_x.chunk(2, dim=2)
    z, n = torch.sigmoid(a_z), candidate(a_n)  # (2), (3)
    keep, update = 1 - z, z * n
    if resets is not None:
        here = resets.unsqueeze(2)
        update = update + torch.where(here, keep * begin, 0.0)
        keep = torch.where(here, 0.0, keep)
    h = linear_scan(keep, update, h0)  # (4)
    return h, {"h": h[-1]}


def linear_scan(
    keep: Float[Tensor, "T B H"], update: Float[Tensor, "T B H"], h0: Float[Tensor, "B H"]
) -> Float[Tensor, "T B H"]:
    """h_t = keep_t ⊙ h_{t−1} + update_t in ⌈log₂ T⌉ passes, each over the whole window: what a GPU runs side by side.

    After k passes, (keep_t, update_t) are those of the 2ᵏ steps that end at t taken as one. Its derivative is a scan too, from the end:
    g_t = d_h_t + keep_{t+1} ⊙ g_{t+1}, and then d_update = g, d_keep_t = g_t ⊙ h_{t−1}.

    Source: Hillis & Steele (1986), "Data parallel algorithms"; the composition of linear steps as in Blelloch (1990).
    """
    h: Tensor = _LinearScan.apply(keep, update, h0)  # type: ignore[no-untyped-call]
    return h


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, update: Tensor, h0: Tensor) -> Tensor:
        first = torch.addcmul(update[:1], keep[:1], h0)
        h = _add_up(keep[1:], torch.cat([first, update[1:]]), forwards=True)
        ctx.save_for_backward(keep, h, h0)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, h, h0 = ctx.saved_tensors
        g = _add_up(keep[1:], d_h, forwards=False)
        return g * torch.cat([h0[None], h[:-1]]), g, g[0] * keep[0]


def _add_up(
    between: Float[Tensor, "T-1 B H"], x: Float[Tensor, "T B H"], *, forwards: bool
) -> Float[Tensor, "T B H"]:
    """y_t = x_t + between_{t−1} ⊙ y_{t−1}, or from the end y_t = x_t + between_t ⊙ y_{t+1}."""
    span = 1
    while span < len(x):
        y = torch.empty_like(x)
        moved, done = (y[span:], y[:span]) if forwards else (y[:-span], y[-span:])
        here, there = (x[span:], x[:-span]) if forwards else (x[:-span], x[span:])
        done.copy_(x[:span] if forwards else x[-span:])
        torch.addcmul(here, between, there, out=moved)
        between, x, span = between[span:] * between[:-span], y, 2 * span
    return x
