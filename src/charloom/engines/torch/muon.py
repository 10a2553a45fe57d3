"""Muon: steps along the orthogonalised momentum of a matrix.

    m ← μ m + (1 − μ) d                                     (1)  d the gradient
    n = μ m + (1 − μ) d                                     (2)  Nesterov's look-ahead
    X₀ = n / ‖n‖_F;  A = X Xᵀ;  X ← a X + (b A + c A²) X     (3)  five times: singular values go to about 1
    w ← w (1 − η λ) − η · 0.2 √max(r, c) · X₅               (4)  as large a step as AdamW's, r × c the matrix

Source: Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks", with its a, b, c; the step size
of (4) is that of Liu et al. (2025), "Muon is scalable for LLM training", equation 4. Where we differ: the gates stacked
in one matrix are orthogonalised separately, because each is a separate map; (3) runs in bfloat16 only if the network's
products do, else in the precision of the parameters; and all matrices of one shape go through (3) together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import torch

from charloom.engines.torch.update_rules import Method

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

MOMENTUM = 0.95
STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
AS_LARGE_AS_ADAMW = 0.2
_TINY = 1e-30  # a gradient of zeros stays zeros


class Muon(Method):
    """Muon for matrices: `lr` is η, `weight_decay` of a group λ.

    `blocks` gives the number of matrices stacked in a parameter, 1 if it is not listed; `rounds` runs (3) in bfloat16.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        blocks: Mapping[Tensor, int] | None = None,
        rounds: bool = False,
    ) -> None:
        super().__init__(groups, lr=lr)
        self.blocks, self.rounds = dict(blocks or {}), rounds

    def update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Update some parameters of one group."""
        ahead = []
        for d, m in zip(gradients, self.moments(params, "momentum_buffer"), strict=True):
            m.lerp_(d, 1 - MOMENTUM)  # (1)
            ahead.append(d.lerp(m, MOMENTUM))  # (2)
        lr = group["lr"]  # a tensor if the update is recorded as a graph, so that its value can change
        for p, direction in zip(params, self._orthogonalised(params, ahead), strict=True):
            p.mul_(1 - lr * group["weight_decay"])
            if isinstance(lr, torch.Tensor):
                p.addcmul_(direction, lr, value=-1)  # (4)
            else:
                p.add_(direction, alpha=-lr)  # (4)

    def _orthogonalised(self, params: list[Tensor], ahead: list[Tensor]) -> list[Tensor]:
        """Every direction in its parameter's shape, scaled for (4)."""
        pieces: dict[tuple[int, int], list[tuple[int, Tensor]]] = {}
        for i, (p, n) in enumerate(zip(params, ahead, strict=True)):
            for block in n.chunk(self.blocks.get(p, 1)):
                wide = block if block.shape[0] <= block.shape[1] else block.t()
                pieces.setdefault((wide.shape[0], wide.shape[1]), []).append((i, wide))
        found: list[list[Tensor]] = [[] for _ in params]
        for (_, columns), owned in pieces.items():
            scaled = orthogonalise(torch.stack([block for _, block in owned]), rounds=self.rounds)
            scaled *= AS_LARGE_AS_ADAMW * math.sqrt(columns)
            for (i, _), x in zip(owned, scaled, strict=True):
                found[i].append(x)
        return [
            torch.cat([x if x.shape[1] == p.shape[1] else x.t() for x in blocks])
            for p, blocks in zip(params, found, strict=True)
        ]


def orthogonalise(n: Float[Tensor, "N r c"], *, rounds: bool = False) -> Float[Tensor, "N r c"]:
    """Compute (3) for N matrices with r ≤ c, in bfloat16 if `rounds`."""
    a, b, c = COEFFICIENTS
    x: Tensor = n / torch.linalg.matrix_norm(n, keepdim=True).clamp_min(_TINY)
    x = x.bfloat16() if rounds else x
    for _ in range(STEPS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.to(n.dtype)
