"""The four cells under one roof: project a window's inputs, then let time pass.

Each cell file holds `step`, its numbered equations for one time step, and the call of a library's kernel for a whole window where
there is one. This file alone decides what a window takes. On a CPU that is our own `recurrence` and `loops`. Elsewhere, without Numba
or in an autocast it is the library, unless a row's state is reset inside the window (documents end there) or the library has
none; then it is `step` after `step`.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.torch import elman, gru, loops, lstm, mingru, precision, recurrence

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

ONE_HOT_LIMIT = 512
"""Up to this vocabulary a library's kernel is given one-hot vectors; beyond it a row look-up wins."""


def project(
    x: Tensor, w_ih: Float[Tensor, "GH X"], bias: Float[Tensor, "GH"] | None
) -> Float[Tensor, "T B GH"]:
    """What a window's inputs bring to the gates: one product, or a row look-up where `x` holds ids (T, B)."""
    if x.dtype == torch.int64:
        return F.embedding(x, w_ih.t().contiguous() if bias is None else w_ih.t() + bias)
    return F.linear(x, w_ih, bias)


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
    resets: Bool[Tensor, "T B"] | None,
    fresh: Tensors,
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Run the cell over a window.

    Args:
        config: names the cell.
        params: its tensors.
        x: dense inputs (T, B, X), or ids (T, B) for one-hot ones.
        state: the state before the first time step.
        resets: where inside the window a row returns to `fresh`, or None where none does.
        fresh: the state to return to, a constant: no gradient flows into it.

    Returns:
        The hidden state at every time step and the state behind the last.
    """
    fit = loops.fit(params["w_ih"])
    if config.cell == "mingru":
        if not fit:
            return mingru.scan(project(x, params["w_ih"], params["bias"]), state, resets, fresh)
        h = loops.mingru(project(x, params["w_ih"], None), params["bias"], state["h"], resets, fresh["h"])
        return h, {"h": h[-1]}
    if fit:
        return recurrence.unroll(config, params, x, state, resets, fresh)
    in_one_call = resets is None and not _is_wide(x, params["w_ih"])
    if in_one_call and (found := _library(config, params, x, state)) is not None:
        return found
    return unroll_steps(config, params, x, state, resets, fresh)


def unroll_steps(
    config: ModelConfig,
    params: Tensors,
    x: Tensor,
    state: Tensors,
    resets: Bool[Tensor, "T B"] | None,
    fresh: Tensors,
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """The same as `unroll`, one `step` after another."""
    now, outputs = dict(state), []
    for t, a_x in enumerate(project(x, params["w_ih"], params["bias"]).unbind(0)):
        if resets is not None:
            now = return_to(fresh, now, resets[t])
        now = step(config, params, a_x, now)
        outputs.append(now["h"])
    return torch.stack(outputs), now


def return_to(fresh: Tensors, state: Tensors, rows: Bool[Tensor, "B"]) -> dict[str, Tensor]:
    """The state with the marked rows replaced by their fresh one."""
    return {key: torch.where(rows.view(-1, *[1] * (x.dim() - 1)), fresh[key], x) for key, x in state.items()}


def _is_wide(x: Tensor, w_ih: Float[Tensor, "GH X"]) -> bool:
    """Whether a library's kernel would be given one-hot vectors so wide that the row look-up wins."""
    return x.dtype == torch.int64 and w_ih.shape[1] > ONE_HOT_LIMIT


def _library(
    config: ModelConfig, params: Tensors, x: Tensor, state: Tensors
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]] | None:
    w_ih = params["w_ih"]
    x = F.one_hot(x, w_ih.shape[1]) if x.dtype == torch.int64 else x
    with precision.exact(w_ih.device), warnings.catch_warnings():
        # cuDNN wants the weights of a layer behind one another; that it has to put them there costs a copy, which the graph holds
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        x = x.to(w_ih.dtype)
        if config.cell == "elman":
            return elman.fused(params, x, state, config.activation)
        return lstm.fused(params, x, state) if config.cell == "lstm" else gru.fused(params, x, state)
