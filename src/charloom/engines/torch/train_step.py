"""The loss of a window and its gradient in every parameter, for some lanes of a batch.

With a teacher, the gradient is that of the cross-entropy with the targets q of `training.distillation`:

    objective = −Σ_v q_v ln s_v          (1)  s the network's; the loss that is reported stays −ln s_x

All randomness is a function of (seed, step, lane), so lanes can be divided among threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from charloom.config import ModelConfig, TrainConfig
from charloom.engines import State, draws, map_state
from charloom.engines.checks import diverged
from charloom.engines.torch import network, precision
from charloom.engines.torch.batch import Batch, upload
from charloom.engines.torch.dropout import Dropout
from charloom.errors import DivergedError
from charloom.text.batching import Window

if TYPE_CHECKING:
    from torch import Tensor

_PAIR = "_pair"


@dataclass(frozen=True, slots=True)
class TrainStep:
    """Forward and backward pass of some lanes."""

    config: ModelConfig
    train_config: TrainConfig
    params: Mapping[str, Tensor]
    learning: Mapping[str, Tensor]  # the parameters that are trained
    noise: torch.Generator | None  # as `dropout.noise_of` returns it

    def __call__(
        self,
        rows: slice,
        *,
        step: int,
        window: Window | Batch,
        state: State,
        count: int,
        weight_masks: Mapping[str, Tensor],
        first_lane: int = 0,
        on_gradient: Callable[[int, Tensor], None] | None = None,
    ) -> tuple[Tensor, list[Tensor], State]:
        """Run the rows `rows` of a window forward and backward, as update `step`.

        `window` and `state` hold the lanes from `first_lane` on; a `Batch` holds these rows only. `count` is the number
        of predictions in all lanes, by which a mean loss is divided. `on_gradient` is called with each gradient and its
        number as soon as it is computed, on a CPU.

        Returns:
            The lanes' summed loss in nats, their part of every gradient, and their detached state after the window.
        """
        config, drops = self.train_config, draws.has_dropout(self.config)
        last_only, seed = config.objective == "last", config.seed
        learning, leaves = self.learning, self.params
        if on_gradient is not None:  # leaves of this call, as other threads walk back to the same parameters
            learning = {name: p.detach().requires_grad_() for name, p in self.learning.items()}
            leaves = {**self.params, **learning}
        params = fold_bias_pairs(leaves)
        params |= {name: params[name] * mask for name, mask in weight_masks.items()}
        dtype, device = params["out.bias"].dtype, params["out.bias"].device
        batch = window if isinstance(window, Batch) else upload(window, rows, device)
        lane = first_lane + (rows.start or 0)
        lanes = range(lane, lane + len(batch.inputs))
        with precision.autocast(device, wanted=config.precision == "bfloat16"):
            logits, after = network.forward(
                self.config,
                params,
                batch.inputs,
                map_state(state, lambda x: x[rows]),
                resets=batch.resets,
                reset_state=self.reset_state(step, lanes) if config.initial_state == "normal" else None,
                dropout=Dropout(self.config, seed, step, lanes, self.noise) if drops else network.no_dropout,
                last_only=last_only,
            )
        targets = batch.targets[:, -1:] if last_only else batch.targets
        scores = logits.flatten(0, 1).to(dtype)
        total = F.cross_entropy(scores, targets.flatten(), reduction="sum")
        objective = total
        if batch.soft_targets is not None:
            soft = batch.soft_targets[:, -1:] if last_only else batch.soft_targets
            objective = _cross_entropy(scores, soft.flatten(0, 1))
        objective = objective if config.loss == "sum" else objective / count
        gradients = _gradients(objective, list(learning.values()), on_gradient)
        return total.detach(), gradients, map_state(after, lambda x: x.detach().to(dtype))

    def reset_state(self, step: int, lanes: range) -> State:
        """The state that lanes return to at a reset."""
        drawn, like = draws.reset_state(self.config, self.train_config, step, lanes), self.params["out.bias"]
        return map_state(drawn, lambda x: torch.as_tensor(np.array(x), dtype=like.dtype, device=like.device))


def _cross_entropy(scores: Tensor, soft: Tensor) -> Tensor:
    """Compute (1), summed over characters; targets in float16 add up to 1 within a thousandth."""
    soft = soft.to(scores.dtype)
    return F.cross_entropy(scores, soft / soft.sum(1, keepdim=True), reduction="sum")


def _gradients(
    objective: Tensor, leaves: list[Tensor], on_gradient: Callable[[int, Tensor], None] | None
) -> list[Tensor]:
    """The gradients in some leaves, contiguous: fused optimisers traverse memory in order, whatever a gradient's layout."""
    if on_gradient is None:
        return [gradient.contiguous() for gradient in torch.autograd.grad(objective, leaves)]
    found: dict[int, Tensor] = {}

    def note(i: int, leaf: Tensor) -> None:
        assert leaf.grad is not None
        found[i] = leaf.grad.contiguous()
        on_gradient(i, found[i])

    for i, leaf in enumerate(leaves):
        leaf.register_post_accumulate_grad_hook(partial(note, i))  # type: ignore[no-untyped-call]
    objective.backward(inputs=leaves)  # type: ignore[no-untyped-call]
    return [found[i] for i in range(len(leaves))]


def fold_bias_pairs(params: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The parameters with each bias pair summed into one bias (the second bias of a GRU holds r and z only)."""
    folded = {name: p for name, p in params.items() if not name.endswith(_PAIR)}
    for name in params.keys() - folded.keys():
        first, second = folded[name.removesuffix(_PAIR)], params[name]
        folded[name.removesuffix(_PAIR)] = first + F.pad(second, (0, len(first) - len(second)))
    return folded


def num_predictions(config: TrainConfig, rows: int, length: int) -> int:
    """The number of predictions in a window's loss: all (B, T), or the last of each row."""
    return int(rows if config.objective == "last" else rows * length)


def update_norms(loss: Tensor, gradients: list[Tensor]) -> Tensor:
    """Collect an update's mean loss, its gradient norm, and the norm of each of P gradients, (2 + P,)."""
    norms = torch.stack(torch._foreach_norm(gradients))
    return torch.cat([loss.view(1), norms.norm().view(1), norms])


def diverged_update(
    step: int, loss: float, gradients: Mapping[str, Tensor], params: Mapping[str, Tensor]
) -> DivergedError:
    """The error for an update that was not taken, with what is not finite."""
    bad = {name: int((~torch.isfinite(g)).sum()) for name, g in gradients.items()}
    return diverged(step, loss, bad, {name: p.detach().cpu().numpy() for name, p in params.items()})
