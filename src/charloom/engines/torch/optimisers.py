"""Optimisers: torch's own, grouped by what decays, with moments that have names.

Weight matrices decay, biases and norms do not. ``muon`` moves hidden matrices (`engines.torch.muon`); embeddings, the output layer and vectors
go to AdamW at the same rate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch

from charloom.config import TrainConfig
from charloom.engines.torch import precision
from charloom.engines.torch.muon import Muon
from charloom.engines.torch.shards import Shards

if TYPE_CHECKING:
    from torch import Tensor


UNEVEN = 1.3
"""Times its part that one thread may have of the work; with more, all of them work on one parameter after another."""

RECORDABLE = ("adam", "adamw", "muon")
"""Methods that read their rate and their count of steps where they lie, and so may be part of a recorded graph."""


class RootAdagrad(torch.optim.Optimizer):
    """Adagrad with ε inside the root: w ← w − η d / √(G + ε), G ← G + d².

    Source: Duchi et al. (2011); the place of ε follows character-RNN programs written from scratch.
    """

    def __init__(self, params: Any, *, lr: float, eps: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002 - nothing is re-evaluated
        """Take one update from the gradients in place."""
        for group in self.param_groups:
            for p in group["params"]:
                d = p.grad.add(p, alpha=group["weight_decay"]) if group["weight_decay"] else p.grad
                total = self.state[p].setdefault("sum", torch.zeros_like(p))
                total.addcmul_(d, d)
                p.addcdiv_(d, (total + group["eps"]).sqrt_(), value=-group["lr"])


class Optimiser:
    """torch's optimisers behind one learning rate, their moments named after their parameters; on a CPU threads that share a batch share the parameters too.

    Args:
        params: trainable tensors under their names.
        config: method, decay rates and weight decay.
        shards: the threads; None = the caller's.
    """

    def __init__(
        self, params: Mapping[str, Tensor], config: TrainConfig, shards: Shards | None = None
    ) -> None:
        self.params, self.shards = dict(params), shards or Shards()
        self.device = next(iter(params.values())).device
        self.hidden = hidden_matrices(self.params) if config.optimizer == "muon" else set()
        number = self.shards.number if shards is not None and self.device.type == "cpu" else 1
        self.shares = [self._own(config, names) for names in self._shared(number)]

    @property
    def parts(self) -> list[torch.optim.Optimizer]:
        """Every optimiser."""
        return [part for share in self.shares for part in share]

    def step(self, learning_rate: float | Tensor) -> None:
        """Take one update from the gradients in place; a rate that is a tensor is read where it lies."""
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = learning_rate
        if len(self.shares) > 1 and self.shards.is_led:
            self.shards.run(_step, self.shares)
        else:
            with self.shards.together():
                _step(self.parts)

    def moments(self) -> dict[str, Tensor]:
        """Every moment, as ``name.key``."""
        named = {}
        for name, p in self.params.items():
            for part in self.parts:
                for key, value in part.state.get(p, {}).items():
                    if isinstance(value, torch.Tensor):
                        named[f"{name}.{key}"] = value
        return named

    def load_moments(self, moments: Mapping[str, Tensor]) -> None:
        """Take over moments that `moments` gave."""
        for name, p in self.params.items():
            own = {key.rpartition(".")[2]: x for key, x in moments.items() if key.rpartition(".")[0] == name}
            part = next(
                part for part in self.parts if any(p is q for g in part.param_groups for q in g["params"])
            )
            part.state.pop(p, None)
            if own:
                part.state[p] = own

    def _shared(self, number: int) -> list[list[str]]:
        """The parameters' names in shares of about as much work, the most to whom has least; in one where one parameter is most of it."""
        work = {name: p.numel() * (self._muons_work(name) + 1) for name, p in self.params.items()}
        shares: list[list[str]] = [[] for _ in range(number)]
        for name in sorted(work, key=work.__getitem__, reverse=True):
            min(shares, key=lambda share: sum(work[n] for n in share)).append(name)
        if max(sum(work[n] for n in share) for share in shares) > UNEVEN * sum(work.values()) / number:
            return [list(work)]
        return [sorted(share, key=list(work).index) for share in shares if share]

    def _muons_work(self, name: str) -> int:
        """Its multiplications for an element, in updates of AdamW: five steps of three products, a hundred of them as long as one."""
        rows, columns = self.params[name].shape if name in self.hidden else (0, 0)
        return min(rows // num_blocks(name, self.params), columns) * 15 // 100

    def _own(self, config: TrainConfig, names: list[str]) -> list[torch.optim.Optimizer]:
        """The optimisers of a share."""
        hidden, rest = [[n for n in names if (n in self.hidden) == moved] for moved in (True, False)]
        other = "adamw" if config.optimizer == "muon" else config.optimizer
        return [self._build(config, method, own) for method, own in ((other, rest), ("muon", hidden)) if own]

    def _build(self, config: TrainConfig, method: str, names: list[str]) -> torch.optim.Optimizer:
        decays = [self.params[n] for n in names if self.params[n].dim() > 1]
        stays = [self.params[n] for n in names if self.params[n].dim() <= 1]
        groups: Iterable[dict[str, Any]] = [
            {"params": params, "weight_decay": decay}
            for params, decay in ((decays, config.weight_decay), (stays, 0.0))
            if params
        ]
        if method == "muon":
            blocks = {self.params[name]: num_blocks(name, self.params) for name in names}
            rounds = config.precision == "bfloat16" and precision.is_native(self.device)
            return Muon(groups, lr=config.learning_rate, blocks=blocks, rounds=rounds)
        return _method(config, method, list(groups), recordable=self.device.type == "cuda")


def _step(parts: Sequence[torch.optim.Optimizer]) -> None:
    for part in parts:
        part.step()


def hidden_matrices(params: Mapping[str, Tensor]) -> set[str]:
    """The parameters that Muon moves: matrices between two hidden layers.

    Where characters come in one-hot, the first layer's input matrix has a column for each of them: it is an embedding, and a rare
    character's column shall not move as far as a frequent one's.
    """
    one_hot = set() if "embedding" in params else {"layers.0.cell.w_ih"}
    matrices = {name for name, p in params.items() if p.dim() == 2 and name.startswith("layers.")}
    return {name for name in matrices - one_hot if "conv" not in name}


def num_blocks(name: str, params: Mapping[str, Tensor]) -> int:
    """How many gates a cell's matrix stacks, told from the recurrent one, which has a row a unit and gate; minGRU has none, and two."""
    cell, _, leaf = name.rpartition(".")
    if leaf not in ("w_ih", "w_hh"):
        return 1
    w_hh = params.get(f"{cell}.w_hh")
    return 2 if w_hh is None else max(1, w_hh.shape[0] // w_hh.shape[1])


def _method(
    config: TrainConfig, method: str, groups: list[dict[str, Any]], *, recordable: bool
) -> torch.optim.Optimizer:
    lr, eps, betas = config.learning_rate, config.epsilon, (config.beta1, config.beta2)
    if method in RECORDABLE:
        make = torch.optim.AdamW if method == "adamw" else torch.optim.Adam
        return make(groups, lr=lr, betas=betas, eps=eps, fused=True, capturable=recordable)
    if method == "sgd":
        return torch.optim.SGD(groups, lr=lr, momentum=config.momentum, fused=True)
    if method == "rmsprop":
        return torch.optim.RMSprop(groups, lr=lr, alpha=config.beta2, eps=eps, momentum=config.momentum)
    if config.epsilon_inside_root:
        return RootAdagrad(groups, lr=lr, eps=eps, weight_decay=config.weight_decay)
    return torch.optim.Adagrad(groups, lr=lr, eps=eps)
