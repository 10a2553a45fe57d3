"""Gated recurrent unit: one time step, and a whole window in PyTorch's kernel.

    a_t = W_ih x_t + b                                (1)  three blocks: a_r, a_z, a_n
    u_t = W_hh h_{t-1}                                (2)  three blocks: u_r, u_z, u_n
    r, z = σ(a_r + u_r), σ(a_z + u_z)                 (3)  reset and update gate
    n = tanh(a_n + r ⊙ (u_n + b_hn))                  (4)  candidate; the reset acts after the product
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}                   (5)  z keeps

Source: Cho et al. (2014), in the form of PyTorch and cuDNN (reset after the recurrent product).
Shapes: T time, B batch, X input size, H hidden size. State is h, (B, H).

Which form runs (`cells.unroll` decides):
    compiled kernel      on a CPU, outside an autocast: `cpu/rnn.py:unroll`, time steps in
                         `kernels/native/rnn_window.c`, (3) to (5) and their derivatives in `training_cells.h`
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
    params: Mapping[str, Tensor], a_x: Float[Tensor, "B 3H"], prev: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Advance one time step; `a_x` is (1)."""
    a_r, a_z, a_n = a_x.chunk(3, dim=1)
    u_r, u_z, u_n = (prev["h"] @ params["w_hh"].T).chunk(3, dim=1)  # (2)
    r, z = torch.sigmoid(a_r + u_r), torch.sigmoid(a_z + u_z)  # (3)
    n = torch.tanh(a_n + r * (u_n + params["bias_hn"]))  # (4)
    return {"h": (1 - z) * n + z * prev["h"]}  # (5)


def library_kernel(
    params: Mapping[str, Tensor], x: Float[Tensor, "T B X"], state: Mapping[str, Tensor]
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Compute (1) to (5) for a whole window in one library call."""
    bias, bias_hn = params["bias"], params["bias_hn"]
    inner = torch.cat([torch.zeros_like(bias)[: 2 * len(bias_hn)], bias_hn])
    weights = [params["w_ih"], params["w_hh"], bias, inner]
    outputs, h = torch.gru(x, state["h"][None], weights, True, 1, 0.0, True, False, False)
    return outputs, {"h": h[0]}
