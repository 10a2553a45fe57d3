"""Minimal gated recurrent unit: one time step, and a whole window as a compiled linear scan.

    a_t = W_ih x_t + b                     (1)  two blocks: a_z, a_n
    z = σ(a_z)                             (2)  update gate; reads no state
    n = g(a_n)                             (3)  g(a) = a + 0.5 where a ≥ 0, else σ(a)
    h_t = (1 − z) ⊙ h_{t-1} + z ⊙ n        (4)  here z writes

Source: Feng et al. (2024), "Were RNNs all we needed?", in its linear form: (4) is summed as it stands, never in
logarithms, and never below float32.
Shapes: B batch, T time, X input size, H hidden size. State is h, (B, H).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from charloom.engines import kernels

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
    a_x: Float[Tensor, "B T 2H"],
    state: Mapping[str, Tensor],
    resets: Bool[Tensor, "B T"] | None,
    fresh: Mapping[str, Tensor],
) -> tuple[Float[Tensor, "B T H"], dict[str, Tensor]]:
    """The same function over a whole window; `a_x` is (1) at every time step, resets return a row to `fresh`."""
    a_z, a_n = (
        a_x.float().chunk(2, dim=2) if a_x.dtype in (torch.bfloat16, torch.float16) else a_x.chunk(2, dim=2)
    )
    z, n = torch.sigmoid(a_z), candidate(a_n)  # (2), (3)
    keep, update = 1 - z, z * n
    if resets is not None:
        here = resets.unsqueeze(2)
        update = update + torch.where(here, keep * fresh["h"].unsqueeze(1), 0.0)
        keep = torch.where(here, 0.0, keep)
    h = linear_scan(keep, update, state["h"].to(z.dtype))  # (4)
    return h, {"h": h[:, -1]}


def linear_scan(
    keep: Float[Tensor, "B T H"], update: Float[Tensor, "B T H"], h0: Float[Tensor, "B H"]
) -> Float[Tensor, "B T H"]:
    """h_t = keep_t ⊙ h_{t−1} + update_t: compiled on a CPU, a loop over time elsewhere."""
    if keep.device.type == "cpu":
        result: Tensor = _Scan.apply(keep, update, h0)  # type: ignore[no-untyped-call]
        return result
    h, states = h0, []
    for k, u in zip(keep.unbind(1), update.unbind(1), strict=True):
        h = k * h + u
        states.append(h)
    return torch.stack(states, dim=1)


class _Scan(torch.autograd.Function):
    """`kernels.scan_forward` with its derivative; the arrays are shared, not copied."""

    @staticmethod
    def forward(ctx: Any, keep: Tensor, update: Tensor, h0: Tensor) -> Tensor:
        keep, update, h0 = keep.contiguous(), update.contiguous(), h0.contiguous()
        h = torch.from_numpy(kernels.scan_forward(*(x.detach().numpy() for x in (keep, update, h0))))
        ctx.save_for_backward(keep, h0, h)
        return h

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        keep, h0, h = ctx.saved_tensors
        arrays = (x.detach().numpy() for x in (keep, h0, h, d_h.contiguous()))
        d_keep, d_update, d_h0 = kernels.scan_backward(*arrays)
        return torch.from_numpy(d_keep), torch.from_numpy(d_update), torch.from_numpy(d_h0)
