"""Minimal gated recurrent unit (minGRU): one time step, and a whole window as a linear scan.

    a_t = W_ih x_t + b                     (1)  two blocks: a_z, a_n
    z = σ(a_z)                             (2)  update gate; reads no state
    n = g(a_n)                             (3)  g(a) = a + 0.5 if a ≥ 0, else σ(a)
    h_t = (1 − z) ⊙ h_{t-1} + z ⊙ n        (4)  here z writes

Source: Feng et al. (2024), "Were RNNs all we needed?", in its linear form: (4) is summed directly, never in
logarithms, and never below float32.
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).

Which form runs (`cells.unroll` decides):
    compiled kernel      on a CPU, outside an autocast: `cpu/ops.py:mingru`, (2) to (4) in
                         `kernels/native/training_residual.c:mingru_forward` and `mingru_backward`
    parallel scan        otherwise: `scan` below (no library has a kernel for this cell)
    written-out step     in the tests only, as the reference: `step` below, called by `cells.py:unroll_steps`
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
    reset_state: Mapping[str, Tensor],
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Compute (2) to (4) for a whole window; `a_x` is (1) at every time step, resets return a row to `reset_state`."""
    a_x = a_x.float() if a_x.dtype in (torch.bfloat16, torch.float16) else a_x
    a_z, a_n = a_x.chunk(2, dim=2)
    z, n = torch.sigmoid(a_z), candidate(a_n)  # (2), (3)
    keep, update = 1 - z, z * n
    if resets is not None:
        is_reset = resets.unsqueeze(2)
        update = update + torch.where(is_reset, keep * reset_state["h"].to(a_x.dtype), 0.0)
        keep = torch.where(is_reset, 0.0, keep)
    h = linear_scan(keep, update, state["h"].to(a_x.dtype))  # (4)
    return h, {"h": h[-1]}


def linear_scan(
    keep: Float[Tensor, "T B H"], update: Float[Tensor, "T B H"], h0: Float[Tensor, "B H"]
) -> Float[Tensor, "T B H"]:
    """h_t = keep_t ⊙ h_{t−1} + update_t in ⌈log₂ T⌉ passes over the whole window, each of which a GPU runs in parallel.

    After k passes, (keep_t, update_t) combine the 2ᵏ steps that end at t. The derivative is a scan from the end:
    g_t = d_h_t + keep_{t+1} ⊙ g_{t+1}; then d_update = g and d_keep_t = g_t ⊙ h_{t−1}.

    In a graph that `torch.export` or `torch.compile` records, the steps are written out: it cannot contain the derivative.

    Source: Hillis & Steele (1986), "Data parallel algorithms"; composition of linear steps as in Blelloch (1990).
    """
    if torch.compiler.is_compiling():
        steps = [h0]
        for now_keep, now_update in zip(keep.unbind(0), update.unbind(0), strict=True):
            steps.append(torch.addcmul(now_update, now_keep, steps[-1]))
        return torch.stack(steps[1:])
    h: Tensor = _LinearScan.apply(keep, update, h0)  # type: ignore[no-untyped-call]
    return h


class _LinearScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, keep: Tensor, update: Tensor, h0: Tensor) -> Tensor:
        first = torch.addcmul(update[:1], keep[:1], h0)
        h = _scan(keep[1:], torch.cat([first, update[1:]]), from_start=True)
        ctx.save_for_backward(keep, h, h0)
        return h

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, h, h0 = ctx.saved_tensors
        g = _scan(keep[1:], d_h, from_start=False)
        return g * torch.cat([h0[None], h[:-1]]), g, g[0] * keep[0]


def _scan(
    between: Float[Tensor, "T-1 B H"], x: Float[Tensor, "T B H"], *, from_start: bool
) -> Float[Tensor, "T B H"]:
    """y_t = x_t + between_{t−1} ⊙ y_{t−1}, or from the end y_t = x_t + between_t ⊙ y_{t+1}."""
    span = 1
    while span < len(x):
        late, early = slice(span, None), slice(-span)
        target, source, done = (late, early, slice(span)) if from_start else (early, late, slice(-span, None))
        y = torch.empty_like(x)
        y[done] = x[done]
        torch.addcmul(x[target], between, x[source], out=y[target])
        between, x, span = between[span:] * between[:-span], y, 2 * span
    return x
