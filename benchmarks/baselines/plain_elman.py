"""System A in plain PyTorch: nn.RNN on one-hot windows of 100, one prediction each, and its sampling."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

WINDOW, BATCH, HIDDEN = 100, 64, 256


class PlainElman:
    """One-hot input → nn.RNN → nn.Linear on the last time step, Adam, state zero for every window.

    Args:
        vocab_size: V.
    """

    def __init__(self, vocab_size: int) -> None:
        torch.manual_seed(0)
        self.vocab_size = vocab_size
        self.rnn = nn.RNN(vocab_size, HIDDEN, batch_first=True)
        self.out = nn.Linear(HIDDEN, vocab_size)
        self.optimizer = torch.optim.Adam([*self.rnn.parameters(), *self.out.parameters()], lr=1e-3)

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """One update on windows (B, 100) and the character after each, (B,)."""
        outputs, _ = self.rnn(self._one_hot(inputs))
        loss = nn.functional.cross_entropy(self.out(outputs[:, -1]), torch.from_numpy(targets))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        return float(loss.detach())

    def write(self, window: np.ndarray, length: int, temperature: float) -> list[int]:
        """Continue a window (100,), reading all of it again for each character, from the last state."""
        chosen, state = [], None
        with torch.no_grad():
            for _ in range(length):
                outputs, state = self.rnn(self._one_hot(window[None]), state)
                probs = torch.softmax(self.out(outputs[0, -1]) / temperature, dim=0)
                chosen.append(int(torch.multinomial(probs, 1)))
                window = np.append(window[1:], chosen[-1])
        return chosen

    def _one_hot(self, ids: np.ndarray) -> torch.Tensor:
        return nn.functional.one_hot(torch.from_numpy(ids), self.vocab_size).float()
