"""The four cells under one roof: project a window's inputs, then let time pass.

Each cell file holds `step`, its numbered equations for one time step, and a faster form of the same function for a
whole window. This file alone decides which of the two a window takes: the fast form, unless a row's state is
reset inside the window (documents end there) or the library has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.torch import elman, gru, lstm, mingru

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

ONE_HOT_LIMIT = 512
"""Up to this vocabulary a library kernel is given dense one-hot vectors; beyond it the row look-up and `step` win."""

Tensors = Mapping[str, "Tensor"]


def project(params: Tensors, x: Tensor) -> Float[Tensor, "B T GH"]:
    """W_ih x_t + b at every time step: one product, or a row look-up where `x` holds ids (B, T)."""
    if x.dtype == torch.int64:
        return F.embedding(x, params["w_ih"].T) + params["bias"]
    return F.linear(x, params["w_ih"], params["bias"])


def step(
    config: ModelConfig, params: Tensors, a_x: Float[Tensor, "B GH"], prev: Tensors
) -> dict[str, Tensor]:
    """Advance the configured cell by one time step."""
    if config.cell == "elman":
        return elman.step(params, a_x, prev, config.activation)
    if config.cell == "lstm":
        return lstm.step(params, a_x, prev)
    return gru.step(params, a_x, prev) if config.cell == "gru" else mingru.step(params, a_x, prev)


def unroll(
    config: ModelConfig,
    params: Tensors,
    x: Tensor,
    state: Tensors,
    resets: Bool[Tensor, "B T"] | None,
    fresh: Tensors,
) -> tuple[Float[Tensor, "B T H"], dict[str, Tensor]]:
    """Run the cell over a window.

    Args:
        config: names the cell.
        params: its tensors.
        x: dense inputs (B, T, X), or ids (B, T) for one-hot ones.
        state: the state before the first time step.
        resets: where inside the window a row returns to `fresh`, or None where none does.
        fresh: the state to return to.

    Returns:
        The hidden state at every time step and the state behind the last.
    """
    if config.cell == "mingru":
        return mingru.scan(project(params, x), state, resets, fresh)
    if resets is None and (found := _library(config, params, x, state)) is not None:
        return found
    return unroll_steps(config, params, x, state, resets, fresh)


def unroll_steps(
    config: ModelConfig,
    params: Tensors,
    x: Tensor,
    state: Tensors,
    resets: Bool[Tensor, "B T"] | None,
    fresh: Tensors,
) -> tuple[Float[Tensor, "B T H"], dict[str, Tensor]]:
    """The same as `unroll`, one `step` after another."""
    now, outputs = dict(state), []
    for t, a_x in enumerate(project(params, x).unbind(1)):
        if resets is not None:
            now = return_to(fresh, now, resets[:, t])
        now = step(config, params, a_x, now)
        outputs.append(now["h"])
    return torch.stack(outputs, dim=1), now


def return_to(fresh: Tensors, state: Tensors, rows: Bool[Tensor, "B"]) -> dict[str, Tensor]:
    """The state with the marked rows replaced by their fresh one."""
    return {key: torch.where(rows.view(-1, *[1] * (x.dim() - 1)), fresh[key], x) for key, x in state.items()}


def _library(
    config: ModelConfig, params: Tensors, x: Tensor, state: Tensors
) -> tuple[Float[Tensor, "B T H"], dict[str, Tensor]] | None:
    w_ih = params["w_ih"]
    if x.dtype == torch.int64:
        if w_ih.shape[1] > ONE_HOT_LIMIT:
            return None
        x = F.one_hot(x, w_ih.shape[1]).to(w_ih.dtype)
    if config.cell == "elman":
        return elman.fused(params, x, state, config.activation)
    return lstm.fused(params, x, state) if config.cell == "lstm" else gru.fused(params, x, state)
