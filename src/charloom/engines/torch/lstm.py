"""Long short-term memory: one time step, and a whole window in PyTorch's kernel.

    a_t = W_ih x_t + W_hh h_{t-1} + b         (1)  four blocks: a_i, a_f, a_g, a_o
    i, f, o = σ(a_i), σ(a_f), σ(a_o)          (2)  input, forget and output gate
    g = tanh(a_g)                             (3)  candidate
    c_t = f ⊙ c_{t-1} + i ⊙ g                 (4)  cell state
    h_t = o ⊙ tanh(c_t)                       (5)  hidden state

Source: Hochreiter & Schmidhuber (1997); forget gate of Gers et al. (2000); no peepholes, one bias.
Shapes: T time, B batch, X input size, H hidden size. State is h and c, each (B, H).

Which form runs (`cells.unroll` decides):
    compiled kernel      on a CPU, outside an autocast: `cpu/rnn.py:unroll`, time steps in
                         `kernels/native/rnn_window.c`, (2) to (5) and their derivatives in `training_cells.h`
    library kernel       otherwise, without resets inside the window and one-hot inputs over 512: `library_kernel` below
    written-out step     otherwise: `step` below, called by `cells.py:unroll_steps`
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor


def step(
    params: Mapping[str, Tensor], a_x: Float[Tensor, "B 4H"], prev: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Advance one time step; `a_x` is the part of (1) that needs no state."""
    a_i, a_f, a_g, a_o = (a_x + prev["h"] @ params["w_hh"].T).chunk(4, dim=1)  # (1)
    i, f, o = torch.sigmoid(a_i), torch.sigmoid(a_f), torch.sigmoid(a_o)  # (2)
    g = torch.tanh(a_g)  # (3)
    c = f * prev["c"] + i * g  # (4)
    return {"h": o * torch.tanh(c), "c": c}  # (5)


def library_kernel(
    params: Mapping[str, Tensor], x: Float[Tensor, "T B X"], state: Mapping[str, Tensor]
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Compute (1) to (5) for a whole window in one library call (oneDNN on a CPU, cuDNN)."""
    bias = params["bias"]
    weights = [params["w_ih"], params["w_hh"], bias, torch.zeros_like(bias)]
    start = (state["h"][None], state["c"][None])
    outputs, h, c = torch.lstm(x, start, weights, True, 1, 0.0, torch.is_grad_enabled(), False, False)
    return outputs, {"h": h[0], "c": c[0]}
