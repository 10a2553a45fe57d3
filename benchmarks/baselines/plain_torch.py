"""Training as a plain PyTorch program writes it: nn.LSTM or nn.GRU on one-hot input, AdamW, one window after another."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class PlainTrainer:
    """One-hot input → nn.LSTM or nn.GRU → nn.Linear, state carried, gradient cut.

    Args:
        kind: lstm or gru.
        vocab_size: V.
        hidden_size: H.
        num_layers: L.
    """

    def __init__(self, kind: str, vocab_size: int, hidden_size: int, num_layers: int) -> None:
        torch.manual_seed(0)
        make = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.vocab_size = vocab_size
        self.rnn = make(vocab_size, hidden_size, num_layers, batch_first=True)
        self.out = nn.Linear(hidden_size, vocab_size)
        self.weights = [*self.rnn.parameters(), *self.out.parameters()]
        self.optimizer = torch.optim.AdamW(self.weights, lr=2e-3)
        self.state = None

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One update on a window (B, T)."""
        x = nn.functional.one_hot(torch.from_numpy(inputs), self.vocab_size).float()
        outputs, state = self.rnn(x, self.state)
        self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = nn.functional.cross_entropy(
            self.out(outputs).flatten(0, 1), torch.from_numpy(targets).flatten()
        )
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimizer.step()
        return float(loss.detach())
