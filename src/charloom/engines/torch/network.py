"""The whole network: characters in, logits and state out, for every cell and block.

    ids → embedding or one-hot → layers → (RMSNorm) → output layer → logits

Inside, time is the first axis, (T, B, ·), so that a time step of all rows is contiguous; callers see (B, T, ·).

`forward` is a pure function of parameters, ids and state; training, validation, sampling and `CharModule` all call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.torch import cells, residual
from charloom.engines.torch.batch import Resets
from charloom.engines.torch.cpu import gemm

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor

TorchState = list[dict[str, "Tensor"]]

Dropout = Callable[[str, int, "Tensor"], "Tensor"]
"""(site, layer, activations) → activations; the site is char, input, layer, branch or output."""


def no_dropout(_site: str, _layer: int, x: Tensor) -> Tensor:
    """Return `x`, for evaluation and sampling."""
    return x


def layer_params(params: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    """The tensors of layer `i`, named without its prefix."""
    prefix = f"layers.{i}."
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}


def forward(
    config: ModelConfig,
    params: Mapping[str, Tensor],
    ids: Int[Tensor, "B T"],
    state: TorchState,
    *,
    resets: Resets | None = None,
    reset_state: TorchState | None = None,
    dropout: Dropout = no_dropout,
    last_only: bool = False,
) -> tuple[Float[Tensor, "B T V"], TorchState]:
    """Read T characters, int64, per row: logits, and the state after the last.

    `resets` marks the characters before which a row returns to `reset_state` (None = zeros). `dropout` is applied
    at the configured sites. `last_only` computes the logits of the last time step only, (B, 1, V).
    """
    ids, inner = ids.t(), None
    if reset_state is None:
        reset_state = [{key: x.new_zeros(()).expand_as(x) for key, x in layer.items()} for layer in state]
    if resets is not None:
        state = [cells.apply_resets(f, s, resets.first) for f, s in zip(reset_state, state, strict=True)]
        inner = resets.inside
    x: Tensor = F.embedding(ids, params["embedding"]) if "embedding" in params else ids
    x = dropout("input", 0, dropout("char", 0, x)) if x.is_floating_point() else x
    after: TorchState = []
    for i, layer_state in enumerate(state):
        own = layer_params(params, i)
        if config.block == "residual":
            drop = partial(dropout, "branch", i)
            x, new = residual.block(config, own, x, layer_state, inner, reset_state[i], drop)
        else:
            x = dropout("layer", i, x) if i > 0 else x
            own = {name.removeprefix("cell."): p for name, p in own.items()}
            x, new = cells.unroll(config, own, x, layer_state, inner, reset_state[i])
        after.append(new)
    x = x[-1:] if last_only else x
    x = residual.norm(x, params["norm"]) if config.block == "residual" else x
    out = params["embedding"] if config.tie_embeddings else params["out.weight"]
    return gemm.linear(dropout("output", 0, x), out, params["out.bias"]).transpose(0, 1), after
