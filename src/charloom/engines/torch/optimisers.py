"""Optimisers with parameters grouped by weight decay, and named moments.

Weight matrices decay; biases and norms do not. ``muon`` updates hidden matrices (`engines.torch.muon`) and leaves
embeddings, the output layer and vectors to AdamW at the same rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from charloom.config import TrainConfig
from charloom.engines.torch import precision
from charloom.engines.torch.cpu.row_threads import RowThreads
from charloom.engines.torch.muon import Muon
from charloom.engines.torch.update_rules import FusedAdam, FusedSgd, Method

if TYPE_CHECKING:
    from torch import Tensor


UNEVEN = 1.3
"""The most work per thread, as a multiple of an even share; beyond it, all threads work on each parameter."""

AnyMethod = Method | torch.optim.Optimizer

RECORDABLE = ("adam", "adamw", "muon")
"""Methods that read their rate and step count from the device, so that a CUDA graph can record them."""


class RootAdagrad(Method):
    """Adagrad with ε inside the root: w ← w − η d / √(G + ε), G ← G + d².

    Source: Duchi et al. (2011); ε is placed as in character-RNN programs written from scratch.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, lr: float, eps: float) -> None:
        super().__init__(groups, lr=lr)
        self.eps = eps

    def update(self, params: list[Tensor], gradients: list[Tensor], group: dict[str, Any]) -> None:
        """Update some parameters of one group."""
        for p, gradient, total in zip(params, gradients, self.moments(params, "sum"), strict=True):
            d = gradient.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else gradient
            total.addcmul_(d, d)
            p.addcdiv_(d, (total + self.eps).sqrt_(), value=-group["lr"])


class Optimiser:
    """torch's optimisers with a common learning rate and with moments named after their parameters.

    On a CPU, the threads that share a batch (`row_threads`, None = the calling thread) share the parameters too.
    """

    def __init__(
        self, params: Mapping[str, Tensor], config: TrainConfig, row_threads: RowThreads | None = None
    ) -> None:
        self.params, self.row_threads = dict(params), row_threads or RowThreads()
        self.device = next(iter(params.values())).device
        self.hidden = hidden_matrices(self.params) if config.optimizer == "muon" else set()
        number = self.row_threads.number if row_threads is not None and self.device.type == "cpu" else 1
        self.shares = [self._own(config, names) for names in self._shared(number)]

    @property
    def parts(self) -> list[AnyMethod]:
        """Every optimiser."""
        return [part for share in self.shares for part in share]

    def step(self, learning_rate: float | Tensor) -> None:
        """Take one update from the gradients in place; a rate that is a tensor is read on its device."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
        if len(self.shares) > 1 and self.row_threads.is_led:
            self.row_threads.run(_step, self.shares)
        else:
            with self.row_threads.together():
                _step(self.parts)

    def moments(self) -> dict[str, Tensor]:
        """Every moment, as ``name.key``."""
        return {
            f"{name}.{key}": value
            for name, p in self.params.items()
            for part in self.parts
            for key, value in part.state.get(p, {}).items()
            if isinstance(value, torch.Tensor)
        }

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Continue from a result of `moments`."""
        owners = {p: part for part in self.parts for group in part.param_groups for p in group["params"]}
        for name, p in self.params.items():
            own = {key.rpartition(".")[2]: x for key, x in moments.items() if key.rpartition(".")[0] == name}
            owners[p].state.pop(p, None)
            if own:
                owners[p].state[p] = own

    def _shared(self, number: int) -> list[list[str]]:
        """Divide the parameters' names into shares of about equal work; one share if a single parameter dominates."""
        work = {name: p.numel() * (self._muon_work(name) + 1) for name, p in self.params.items()}
        shares: list[list[str]] = [[] for _ in range(number)]
        for name in sorted(work, key=work.__getitem__, reverse=True):
            min(shares, key=lambda share: sum(work[n] for n in share)).append(name)
        if max(sum(work[n] for n in share) for share in shares) > UNEVEN * sum(work.values()) / number:
            return [list(work)]
        return [sorted(share, key=list(work).index) for share in shares if share]

    def _muon_work(self, name: str) -> int:
        """Muon's work per element, in AdamW updates of 100 multiplications each: five steps of three products."""
        rows, columns = self.params[name].shape if name in self.hidden else (0, 0)
        return min(rows // num_blocks(name, self.params), columns) * 15 // 100

    def _own(self, config: TrainConfig, names: list[str]) -> list[AnyMethod]:
        """The optimisers of a share."""
        hidden, rest = [[n for n in names if (n in self.hidden) == is_hidden] for is_hidden in (True, False)]
        other = "adamw" if config.optimizer == "muon" else config.optimizer
        return [self._build(config, method, own) for method, own in ((other, rest), ("muon", hidden)) if own]

    def _build(self, config: TrainConfig, method: str, names: list[str]) -> AnyMethod:
        matrices = [self.params[n] for n in names if self.params[n].dim() > 1]
        vectors = [self.params[n] for n in names if self.params[n].dim() <= 1]
        decays = (matrices, config.weight_decay), (vectors, 0.0)
        groups = [{"params": params, "weight_decay": decay} for params, decay in decays if params]
        if method == "muon":
            blocks = {self.params[name]: num_blocks(name, self.params) for name in names}
            rounds = config.precision == "bfloat16" and precision.is_native(self.device)
            return Muon(groups, lr=config.learning_rate, blocks=blocks, rounds=rounds)
        return _method(config, method, groups)


def _step(parts: Sequence[AnyMethod]) -> None:
    for part in parts:
        part.step()


def hidden_matrices(params: Mapping[str, Tensor]) -> set[str]:
    """The parameters that Muon updates: matrices between two hidden layers.

    With one-hot inputs, the first layer's input matrix has a column per character: it is an embedding, in which a rare
    character's column must not move as far as a frequent one's.
    """
    one_hot = set() if "embedding" in params else {"layers.0.cell.w_ih"}
    matrices = {name for name, p in params.items() if p.dim() == 2 and name.startswith("layers.")}
    return {name for name in matrices - one_hot if "conv" not in name}


def num_blocks(name: str, params: Mapping[str, Tensor]) -> int:
    """The number of gates stacked in a cell's matrix: rows of W_hh per unit, or 2 for minGRU, which has no W_hh."""
    cell, _, leaf = name.rpartition(".")
    if leaf not in ("w_ih", "w_hh"):
        return 1
    w_hh = params.get(f"{cell}.w_hh")
    return 2 if w_hh is None else max(1, w_hh.shape[0] // w_hh.shape[1])


def _method(config: TrainConfig, method: str, groups: list[dict[str, Any]]) -> AnyMethod:
    lr, eps, betas = config.learning_rate, config.epsilon, (config.beta1, config.beta2)
    if method in RECORDABLE:
        return FusedAdam(groups, lr=lr, betas=betas, eps=eps, decoupled=method == "adamw")
    if method == "sgd":
        return FusedSgd(groups, lr=lr, momentum=config.momentum)
    if method == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr, alpha=config.beta2, eps=eps, momentum=config.momentum)
    if config.epsilon_inside_root:
        return RootAdagrad(groups, lr=lr, eps=eps)
    return torch.optim.Adagrad(groups, lr=lr, eps=eps)


def clip(gradients: list[Tensor], norm: Tensor, config: TrainConfig, *, waits: bool) -> None:
    """Scale gradients down to `clip_norm`, then limit each element to `clip_value`, in place.

    Reading the norm from a GPU would wait for it; unless it `waits`, gradients are always multiplied.
    """
    if config.clip_norm is not None and (not waits or float(norm) > config.clip_norm):
        torch._foreach_mul_(gradients, (config.clip_norm / norm).clamp(max=1.0))
    if config.clip_value is not None:
        clip_value = min(float(config.clip_value), torch.finfo(norm.dtype).max)
        torch._foreach_clamp_min_(gradients, -clip_value)
        torch._foreach_clamp_max_(gradients, clip_value)
