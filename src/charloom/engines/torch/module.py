"""The network as an ordinary `torch.nn.Module`, for your own experiments, and the import of such modules.

The module's parameters are named as in a model file (`layers.0.cell.w_ih`), so `state_dict()` has the contents of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from charloom.config import ModelConfig
from charloom.engines.torch import network
from charloom.engines.torch.model import to_numpy, zero_state
from charloom.errors import ConfigError
from charloom.parameters import parameter_shapes

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from numpy import ndarray as Array
    from torch import Tensor


class CharModule(nn.Module):
    """The network as a module: `logits, state = module(ids, state)`; a state of None means zeros."""

    def __init__(self, config: ModelConfig, params: Mapping[str, Any], vocab_size: int) -> None:
        super().__init__()
        self.config, self.vocab_size = config, vocab_size
        for name, value in params.items():
            *path, leaf = name.split(".")
            parent: nn.Module = self
            for part in path:
                if not hasattr(parent, part):
                    parent.add_module(part, nn.Module())
                parent = getattr(parent, part)
            parent.register_parameter(leaf, nn.Parameter(torch.as_tensor(value).clone()))

    def forward(
        self, ids: Int[Tensor, "B T"], state: network.TorchState | None = None
    ) -> tuple[Float[Tensor, "B T V"], network.TorchState]:
        """Read T characters per row: logits, and the state after the last."""
        params = dict(self.named_parameters())
        bias = params["out.bias"]
        state = zero_state(self.config, ids.shape[0], bias.device, bias.dtype) if state is None else state
        return network.forward(self.config, params, ids, state)


_CELLS = {nn.RNN: "elman", nn.LSTM: "lstm", nn.GRU: "gru"}


def parameters_of(module: nn.Module, vocab_size: int) -> tuple[ModelConfig, dict[str, Array]]:
    """Read configuration and parameters from a module.

    Args:
        module: a `CharModule`, or a module with one `nn.RNN`, `nn.LSTM` or `nn.GRU`, one `nn.Linear` and at most one
            `nn.Embedding`.
        vocab_size: V, the size that the output layer must have.

    Raises:
        ConfigError: the module has other layers, or the vocabulary another size.
    """
    if isinstance(module, CharModule):
        config, params = module.config, {name: to_numpy(p) for name, p in module.named_parameters()}
    else:
        config, params = _from_library(module)
    shapes = parameter_shapes(config, vocab_size)
    found = {name: p.shape for name, p in params.items()}
    if found != shapes:
        wrong = next(name for name in shapes.keys() | found.keys() if shapes.get(name) != found.get(name))
        raise ConfigError(
            f"{wrong} has shape {found.get(wrong)}",
            why=f"a vocabulary of {vocab_size} requires {shapes.get(wrong)}",
            fix="pass the vocabulary that the module was trained with",
        )
    return config, {name: params[name] for name in shapes}


def _only(module: nn.Module, kinds: tuple[type[nn.Module], ...], *, required: bool) -> Any:
    found = [part for part in module.modules() if isinstance(part, kinds)]
    if len(found) > 1 or (required and not found):
        names = " or ".join(f"nn.{kind.__name__}" for kind in kinds)
        raise ConfigError(
            f"the module has {len(found)} layers of {names}",
            why="a module must have one recurrent stack, one output layer and at most one embedding",
            fix="build a charloom model with model.torch_module() and load your weights into it",
        )
    return found[0] if found else None


def _from_library(module: nn.Module) -> tuple[ModelConfig, dict[str, Array]]:
    rnn = _only(module, tuple(_CELLS), required=True)
    out = _only(module, (nn.Linear,), required=True)
    embedding = _only(module, (nn.Embedding,), required=False)
    if rnn.bidirectional or getattr(rnn, "proj_size", 0) or not rnn.bias or out.bias is None:
        raise ConfigError(
            "the recurrent stack is bidirectional, has a projection, or has no bias",
            why="a character model reads forward only and has biases, but no projection",
            fix="train a unidirectional stack with biases and without a projection",
        )
    config = ModelConfig(
        cell=_CELLS[type(rnn)],  # type: ignore[arg-type]
        activation=rnn.nonlinearity if isinstance(rnn, nn.RNN) else "tanh",
        hidden_size=rnn.hidden_size,
        num_layers=rnn.num_layers,
        embedding_size=None if embedding is None else embedding.embedding_dim,
    )
    params = {} if embedding is None else {"embedding": to_numpy(embedding.weight)}
    for i in range(rnn.num_layers):
        params |= {f"layers.{i}.cell.{name}": value for name, value in _cell(rnn, i).items()}
    return config, params | {"out.weight": to_numpy(out.weight), "out.bias": to_numpy(out.bias)}


def _cell(rnn: Any, i: int) -> dict[str, Array]:
    w_ih, w_hh, b_ih, b_hh = (
        to_numpy(getattr(rnn, f"{n}_l{i}")) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    if not isinstance(rnn, nn.GRU):
        return {"w_ih": w_ih, "w_hh": w_hh, "bias": b_ih + b_hh}
    H = rnn.hidden_size
    b_ih[: 2 * H] += b_hh[: 2 * H]
    return {"w_ih": w_ih, "w_hh": w_hh, "bias": b_ih, "bias_hn": b_hh[2 * H :]}
