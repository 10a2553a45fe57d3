"""Sampling in plain PyTorch: one character at a time through nn.LSTM, softmax and a draw."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class PlainWriter:
    """One-hot input → nn.LSTM → nn.Linear, one character per step.

    Args:
        vocab_size: V.
        hidden_size: H.
        num_layers: L.
        dropout: left on while sampling, as in system C; 0 = evaluation mode.
        top_k: how many of the likeliest characters to keep; None = all.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int,
        num_layers: int,
        *,
        dropout: float = 0.0,
        top_k: int | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.vocab_size, self.top_k = vocab_size, top_k
        self.rnn = nn.LSTM(vocab_size, hidden_size, num_layers, batch_first=True, dropout=dropout)
        self.dropout, self.out = nn.Dropout(dropout), nn.Linear(hidden_size, vocab_size)
        for part in (self.rnn, self.dropout, self.out):
            part.train(dropout > 0)

    @torch.inference_mode()
    def write(self, length: int) -> list[int]:
        """Generate `length` characters."""
        char_id, state, chosen = 0, None, []
        for _ in range(length):
            x = nn.functional.one_hot(torch.tensor([[char_id]]), self.vocab_size).float()
            outputs, state = self.rnn(x, state)
            probs = torch.softmax(self.out(self.dropout(outputs))[0, 0], dim=0)
            char_id = self._draw(probs)
            chosen.append(char_id)
        return chosen

    def _draw(self, probs: torch.Tensor) -> int:
        if self.top_k is None:
            return int(torch.multinomial(probs, 1))
        likeliest, ids = probs.topk(self.top_k)
        p = likeliest.numpy().astype(np.float64)
        return int(np.random.default_rng(0).choice(ids.numpy(), p=p / p.sum()))
