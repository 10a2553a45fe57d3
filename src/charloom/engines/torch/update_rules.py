"""AdamW, Adam and SGD on torch's fused operators, without `torch.optim`, whose first optimiser imports torch's compiler.

    m ← β₁ m + (1 − β₁) d;  v ← β₂ v + (1 − β₂) d²                               (1)  d the gradient
    w ← w (1 − η λ) − η (m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)                  (2)  AdamW; Adam adds λ w to d instead
    m ← μ m + d, at first m ← d;  w ← w − η m                                    (3)  SGD, with λ w added to d

That import takes a second. Moments have the names of `torch.optim`, and a test holds every bit equal to it.

Source: Kingma & Ba (2015), "Adam"; Loshchilov & Hutter (2019), "Decoupled weight decay regularization".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


class Method:
    """Groups of parameters with their settings, as ``param_groups``, and the moments of each parameter as ``state``."""

    def __init__(self, groups: Iterable[dict[str, Any]], **defaults: Any) -> None:
        self.param_groups = [{"weight_decay": 0.0, **defaults, **group} for group in groups]
        self.state: dict[Tensor, dict[str, Tensor]] = defaultdict(dict)

    def step(self) -> None:
        """Take one update from the gradients in place."""
        with torch.no_grad():
            for group in self.param_groups:
                params = [p for p in group["params"] if p.grad is not None]
                if params:
                    self.update(params, [p.grad for p in params], group)

    def update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Update some parameters of one group."""
        raise NotImplementedError

    def moments(self, params: list[Tensor], key: str) -> list[Tensor]:
        """The moment `key` of each parameter; zeros at first."""
        return [self._moment(p, key, p.shape, p.dtype) for p in params]

    def _moment(self, p: Tensor, key: str, shape: Any, dtype: torch.dtype) -> Tensor:
        state = self.state[p]
        if key not in state:
            state[key] = torch.zeros(shape, dtype=dtype, device=p.device)
        return state[key]


class FusedAdam(Method):
    """Equations (1) and (2); `decoupled` selects AdamW. A tensor as ``lr`` is read on its device."""

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        eps: float,
        decoupled: bool,
    ) -> None:
        super().__init__(groups, lr=lr)
        self.betas, self.eps = betas, eps
        self._fused = torch._fused_adamw_ if decoupled else torch._fused_adam_

    def update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Update some parameters of one group."""
        steps = [self._moment(p, "step", (), torch.float32) for p in params]
        torch._foreach_add_(steps, 1)
        self._fused(
            params,
            gradients,
            self.moments(params, "exp_avg"),
            self.moments(params, "exp_avg_sq"),
            [],
            steps,
            lr=group["lr"],
            beta1=self.betas[0],
            beta2=self.betas[1],
            weight_decay=group["weight_decay"],
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )


class FusedSgd(Method):
    """Equation (3)."""

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, momentum: float) -> None:
        super().__init__(groups, lr=lr)
        self.momentum = momentum

    def update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Update some parameters of one group."""
        is_first = self.momentum != 0 and "momentum_buffer" not in self.state[params[0]]
        torch._fused_sgd_(
            params,
            gradients,
            self.moments(params, "momentum_buffer") if self.momentum else [],
            weight_decay=group["weight_decay"],
            momentum=self.momentum,
            lr=float(group["lr"]),
            dampening=0.0,
            nesterov=False,
            maximize=False,
            is_first_step=is_first,
        )
