"""The whole network: characters in, logits and state out, for every cell and block.

    ids → embedding or one-hot → layers → (RMSNorm) → output layer → logits

Inside, time is the first axis, (T, B, ·): a time step of every row lies in one piece. Outside, rows are.

A pure function of parameters, ids and state: training, validation, sampling and the module for users all call it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.torch import cells, residual
from charloom.engines.torch.batch import Resets

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor

TorchState = list[dict[str, "Tensor"]]

Dropout = Callable[[str, int, "Tensor"], "Tensor"]
"""(site, layer, activations) → activations; the site is char, input, layer, branch or output."""


def no_dropout(_site: str, _layer: int, x: Tensor) -> Tensor:
    """The identity: evaluation and sampling."""
    return x


def layer_params(params: Mapping[str, Tensor], i: int) -> dict[str, Tensor]:
    """The tensors of layer `i` under their names inside it."""
    prefix = f"layers.{i}."
    return {name.removeprefix(prefix): p for name, p in params.items() if name.startswith(prefix)}


def forward(
    config: ModelConfig,
    params: Mapping[str, Tensor],
    ids: Int[Tensor, "B T"],
    state: TorchState,
    *,
    resets: Resets | None = None,
    fresh: TorchState | None = None,
    dropout: Dropout = no_dropout,
    last_only: bool = False,
) -> tuple[Float[Tensor, "B T V"], TorchState]:
    """Read T characters a row.

    Args:
        config: the network.
        params: its tensors under their full names.
        ids: characters, int64.
        state: one dict a layer.
        resets: where a row returns to `fresh`; None = nowhere.
        fresh: the state to return to; None = zeros.
        dropout: applied at the configured sites.
        last_only: logits of the last time step alone, (B, 1, V).

    Returns:
        Logits and the state behind the last character.
    """
    ids, inner = ids.t(), None
    if fresh is None:
        fresh = [{key: x.new_zeros(()).expand_as(x) for key, x in layer.items()} for layer in state]
    if resets is not None:
        state = [cells.return_to(f, s, resets.first) for f, s in zip(fresh, state, strict=True)]
        inner = resets.inside
    x: Tensor = F.embedding(ids, params["embedding"]) if "embedding" in params else ids
    x = dropout("input", 0, dropout("char", 0, x)) if x.is_floating_point() else x
    after: TorchState = []
    for i, layer_state in enumerate(state):
        x, new = _layer(config, layer_params(params, i), i, x, layer_state, inner, fresh[i], dropout)
        after.append(new)
    x = x[-1:] if last_only else x
    x = residual.norm(x, params["norm"]) if config.block == "residual" else x
    out = params["embedding"] if config.tie_embeddings else params["out.weight"]
    return F.linear(dropout("output", 0, x), out, params["out.bias"]).transpose(0, 1), after


def _layer(
    config: ModelConfig,
    params: Mapping[str, Tensor],
    i: int,
    x: Tensor,
    state: Mapping[str, Tensor],
    resets: Bool[Tensor, "T B"] | None,
    fresh: Mapping[str, Tensor],
    dropout: Dropout,
) -> tuple[Tensor, dict[str, Tensor]]:
    if config.block == "residual":
        return residual.block(config, params, x, state, resets, fresh, lambda b: dropout("branch", i, b))
    if i > 0:
        x = dropout("layer", i, x)
    own = {name.removeprefix("cell."): p for name, p in params.items()}
    return cells.unroll(config, own, x, state, resets, fresh)
