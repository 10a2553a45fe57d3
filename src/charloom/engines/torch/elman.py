"""Elman network: one time step, and a whole window in PyTorch's kernel.

    a_t = W_ih x_t + W_hh h_{t-1} + b     (1)
    h_t = φ(a_t)                          (2)  φ is tanh, σ or relu

Source: Elman (1990), in the form of PyTorch's ``nn.RNN`` with one bias.
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).

Which form runs (`cells.unroll` decides):
    compiled kernel      on a CPU, outside an autocast: `cpu/rnn.py:unroll`, time steps in
                         `kernels/native/rnn_window.c`, (2) and its derivative in `training_cells.h`
    library kernel       otherwise, for tanh and relu, without resets inside the window and one-hot inputs over 512:
                         `library_kernel` below
    written-out step     otherwise, always for σ: `step` below, called by `cells.py:unroll_steps`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu}
_LIBRARY = {"tanh": torch.rnn_tanh, "relu": torch.rnn_relu}


def step(
    params: Mapping[str, Tensor], a_x: Float[Tensor, "B H"], prev: Mapping[str, Tensor], activation: str
) -> dict[str, Tensor]:
    """Advance one time step; `a_x` is the part of (1) that needs no state."""
    return {"h": ACTIVATIONS[activation](a_x + prev["h"] @ params["w_hh"].T)}  # (1), (2)


def library_kernel(
    params: Mapping[str, Tensor], x: Float[Tensor, "T B X"], state: Mapping[str, Tensor], activation: str
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]] | None:
    """Compute (1) and (2) for a whole window in one library call; None if the library has no kernel (σ)."""
    if activation not in _LIBRARY:
        return None
    bias = params["bias"]
    weights = [params["w_ih"], params["w_hh"], bias, torch.zeros_like(bias)]
    outputs, h = _LIBRARY[activation](x, state["h"][None], weights, True, 1, 0.0, True, False, False)
    return outputs, {"h": h[0]}
