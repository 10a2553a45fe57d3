"""Two networks of makemore in plain PyTorch, with its default settings, for lists of names.

Our own implementation of the description. Both read the end symbol and then a name, and predict each of its
characters and the end symbol after them. Weights are drawn as PyTorch does by default; there is no dropout.

    transformer   4 blocks of 4 heads, 64 wide; learned positions, layer norm before each branch, GELU (tanh form)
    gru           one layer, 64 wide, embedding 64; the reset gate acts before the recurrent product:
                  r, z = σ(W_r [x, h] + b_r), σ(W_z [x, h] + b_z);  n = tanh(W_n [x, r ⊙ h] + b_n);
                  h ← (1 - z) ⊙ h + z ⊙ n; the first h is learned

AdamW on all parameters, learning rate 5e-4 throughout, weight decay 0.01, β 0.9 and 0.99, batches of 32 names drawn
with replacement.

Shapes: B batch, T time (longest name + 1), D width, V vocabulary.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from benchmarks.baselines.plain_gpt import Attention

BLOCKS, HEADS, WIDTH, BATCH = 4, 4, 64, 32
LEARNING_RATE, WEIGHT_DECAY, BETAS = 5e-4, 0.01, (0.9, 0.99)
PADDING = -1
"""The target at positions after the end of a name, which do not count."""


class BiasedBlock(nn.Module):
    """x ← x + attention(norm(x)), then x ← x + mlp(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(WIDTH), Attention(WIDTH, HEADS, bias=True))
        self.mlp = nn.Sequential(
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 4 * WIDTH),
            nn.GELU(approximate="tanh"),
            nn.Linear(4 * WIDTH, WIDTH),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(x)
        return x + self.mlp(x)


class NamesTransformer(nn.Module):
    """Characters and their positions → blocks → norm → logits (B, T, V)."""

    def __init__(self, vocab_size: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.positions = nn.Embedding(length, WIDTH)
        self.blocks = nn.Sequential(*(BiasedBlock() for _ in range(BLOCKS)))
        self.norm = nn.LayerNorm(WIDTH)
        self.out = nn.Linear(WIDTH, vocab_size, bias=False)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return self.out(self.norm(self.blocks(x)))


class NamesGRU(nn.Module):
    """Characters → embedding → GRU, one time step after another → logits (B, T, V)."""

    def __init__(self, vocab_size: int, _length: int) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.zeros(1, WIDTH))
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.reset, self.update, self.candidate = (nn.Linear(2 * WIDTH, WIDTH) for _ in range(3))
        self.out = nn.Linear(WIDTH, vocab_size)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        h, outputs = self.start.expand(len(ids), -1), []
        for x in self.embedding(ids).unbind(1):
            both = torch.cat([x, h], dim=1)
            r, z = torch.sigmoid(self.reset(both)), torch.sigmoid(self.update(both))
            n = torch.tanh(self.candidate(torch.cat([x, r * h], dim=1)))
            h = (1 - z) * h + z * n
            outputs.append(h)
        return self.out(torch.stack(outputs, dim=1))


class PlainMakemore:
    """A network with its optimiser.

    Args:
        kind: which of the two networks.
        vocab_size: V, the end symbol included.
        length: T, the longest name and its end.
        seed: seed of the weights.
    """

    def __init__(
        self, kind: Literal["transformer", "gru"], vocab_size: int, length: int, *, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        network = NamesTransformer if kind == "transformer" else NamesGRU
        self.model = network(vocab_size, length)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY, betas=BETAS
        )

    @property
    def num_params(self) -> int:
        """The number of trained parameters."""
        return sum(w.numel() for w in self.model.parameters())

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Take one update on names, (B, T) each; return their mean loss before it, nats, padding left out."""
        logits = self.model(torch.from_numpy(inputs)).flatten(0, 1)  # (B·T, V)
        loss = functional.cross_entropy(logits, torch.from_numpy(targets).flatten(), ignore_index=PADDING)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def logits(self, inputs: np.ndarray) -> np.ndarray:
        """The logits after each character, (B, T, V)."""
        with torch.no_grad():
            return self.model(torch.from_numpy(inputs)).numpy()
