"""Training in plain PyTorch: nn.RNN, nn.LSTM or nn.GRU, Adam or AdamW, one window after another."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class PlainTrainer:
    """One-hot input or an embedding → nn.RNN, nn.LSTM or nn.GRU → nn.Linear.

    Args:
        kind: elman, lstm or gru.
        vocab_size: V.
        hidden_size: H.
        num_layers: L.
        embedding_size: E; None = one-hot.
        dropout: between layers and before the output.
        optimizer: the optimiser's class.
        learning_rate: its learning rate.
        clip_norm: maximum gradient norm; None = no clipping.
        carry: carry the state into the next window, detached.
        device: the device to train on.
    """

    def __init__(
        self,
        kind: str,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        embedding_size: int | None = None,
        dropout: float = 0.0,
        optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW,
        learning_rate: float = 2e-3,
        clip_norm: float | None = 1.0,
        carry: bool = True,
        device: str = "cpu",
    ) -> None:
        torch.manual_seed(0)
        make = {"elman": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.device = device
        between = dropout if num_layers > 1 else 0.0
        self.vocab_size, self.clip_norm, self.carry = vocab_size, clip_norm, carry
        self.embedding = None if embedding_size is None else nn.Embedding(vocab_size, embedding_size)
        self.rnn = make(
            embedding_size or vocab_size, hidden_size, num_layers, batch_first=True, dropout=between
        )
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(hidden_size, vocab_size)
        parts = [self.rnn, self.out, *([] if self.embedding is None else [self.embedding])]
        for part in parts:
            part.to(device)
        self.weights = [weight for part in parts for weight in part.parameters()]
        self.optimizer = optimizer(self.weights, lr=learning_rate)  # type: ignore[call-arg]
        self.state = None

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One update on a window (B, T)."""
        outputs, state = self.rnn(self._read(torch.from_numpy(inputs).to(self.device)), self.state)
        if self.carry:
            self.state = tuple(s.detach() for s in state) if isinstance(state, tuple) else state.detach()
        loss = nn.functional.cross_entropy(
            self.out(self.dropout(outputs)).flatten(0, 1),
            torch.from_numpy(targets).to(self.device).flatten(),
        )
        self.optimizer.zero_grad()
        loss.backward()
        if self.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.weights, self.clip_norm)
        self.optimizer.step()
        return float(loss.detach())

    def _read(self, ids: torch.Tensor) -> torch.Tensor:
        if self.embedding is not None:
            return self.embedding(ids)
        return nn.functional.one_hot(ids, self.vocab_size).float()
