"""The four cells through one interface: project a window's inputs, then run its time steps.

`unroll` chooses which form of a cell runs. Each cell file lists its forms in the order in which they are tried:

    compiled kernel       float32 or float64 on a CPU, outside an autocast (`cpu.ops.fit`)
    library kernel        otherwise, if PyTorch has one for the cell, no row is reset inside the window (a document ends
                          there), and one-hot inputs are no wider than `ONE_HOT_LIMIT`
    written-out step      otherwise: the cell's numbered equations, one time step after another
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from charloom.config import ModelConfig
from charloom.engines.torch import elman, gru, lstm, mingru
from charloom.engines.torch.cpu import gemm, ops, rnn

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

Tensors = Mapping[str, "Tensor"]

ONE_HOT_LIMIT = 512
"""The largest vocabulary for which the library kernel reads one-hot vectors; beyond it a row look-up is faster."""


def project(
    x: Tensor, w_ih: Float[Tensor, "GH X"], bias: Float[Tensor, "GH"] | None
) -> Float[Tensor, "T B GH"]:
    """Compute the input part of the gates for a whole window: one product, or a row look-up if `x` holds ids (T, B)."""
    if x.dtype == torch.int64:
        return F.embedding(x, w_ih.t().contiguous() if bias is None else w_ih.t() + bias)
    return gemm.linear(x, w_ih, bias)


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
    reset_state: Tensors,
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Run the cell over a window: the hidden state at every time step, and the state after the last.

    `x` holds dense inputs (T, B, X), or ids (T, B) for one-hot inputs. `resets` marks the time steps before which a row
    returns to `reset_state` (None if no row does), a constant: no gradient flows into it.
    """
    w_ih = params["w_ih"]
    is_compiled = ops.fit(w_ih)
    if config.cell == "mingru":
        if not is_compiled:
            return mingru.scan(project(x, w_ih, params["bias"]), state, resets, reset_state)
        h = ops.mingru(project(x, w_ih, None), params["bias"], state["h"], resets, reset_state["h"])
        return h, {"h": h[-1]}
    if is_compiled:
        return rnn.unroll(config, params, x, state, resets, reset_state)
    is_wide = x.dtype == torch.int64 and w_ih.shape[1] > ONE_HOT_LIMIT
    if resets is None and not is_wide and (found := _library_kernel(config, params, x, state)) is not None:
        return found
    return unroll_steps(config, params, x, state, resets, reset_state)


def unroll_steps(
    config: ModelConfig,
    params: Tensors,
    x: Tensor,
    state: Tensors,
    resets: Bool[Tensor, "T B"] | None,
    reset_state: Tensors,
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]]:
    """Compute `unroll` one `step` after another."""
    now, outputs = dict(state), []
    for t, a_x in enumerate(project(x, params["w_ih"], params["bias"]).unbind(0)):
        if resets is not None:
            now = apply_resets(reset_state, now, resets[t])
        now = step(config, params, a_x, now)
        outputs.append(now["h"])
    return torch.stack(outputs), now


def apply_resets(reset_state: Tensors, state: Tensors, rows: Bool[Tensor, "B"]) -> dict[str, Tensor]:
    """The state with the marked rows replaced by those of `reset_state`."""
    return {
        key: torch.where(rows.view(-1, *[1] * (x.dim() - 1)), reset_state[key], x) for key, x in state.items()
    }


def _library_kernel(
    config: ModelConfig, params: Tensors, x: Tensor, state: Tensors
) -> tuple[Float[Tensor, "T B H"], dict[str, Tensor]] | None:
    """Run the window in PyTorch's kernel; None if it has none for this cell."""
    w_ih = params["w_ih"]
    x = F.one_hot(x, w_ih.shape[1]) if x.dtype == torch.int64 else x
    # torch.export cannot record a change of Python's warnings
    quiet = contextlib.nullcontext() if torch.compiler.is_compiling() else _copied_weights()
    # in an autocast, cuDNN would round to float16, too narrow a range for gradients
    with torch.autocast(w_ih.device.type, enabled=False), quiet:
        x = x.to(w_ih.dtype)
        if config.cell == "elman":
            return elman.library_kernel(params, x, state, config.activation)
        kernel = lstm.library_kernel if config.cell == "lstm" else gru.library_kernel
        return kernel(params, x, state)


@contextlib.contextmanager
def _copied_weights() -> Iterator[None]:
    """Let cuDNN copy a layer's weights to one contiguous block, where it wants them; a CUDA graph records the copy."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "RNN module weights are not part of single contiguous chunk")
        yield
