"""System E in plain PyTorch: one update per character.

Our own implementation of the published form: [one-hot character ; previous state] → nn.Linear → sigmoid →
nn.Linear → log-softmax, 128 units, plain SGD 0.1 after every character, the state detached each step; it
starts as normal × 0.1.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn


class RecurrentNetwork(nn.Module):
    """s(t) = sigmoid(A x(t) + a), y(t) = log softmax(B s(t) + b); x(t) = [character; s(t−1)]."""

    def __init__(self, vocab_size: int, hidden_size: int) -> None:
        super().__init__()
        self.hidden_size = hidden_size
        self.to_state = nn.Linear(vocab_size + hidden_size, hidden_size)
        self.to_output = nn.Linear(hidden_size, vocab_size)
        self.log_softmax = nn.LogSoftmax(dim=1)

    def forward(self, character: torch.Tensor, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        combined = torch.cat((character, state), dim=1)
        state = torch.sigmoid(self.to_state(combined))
        return self.log_softmax(self.to_output(state)), state

    def initial_state(self) -> torch.Tensor:
        return torch.randn(1, self.hidden_size) * 0.1


class PlainOnlineRNN:
    """The network with its optimiser and its position in the text.

    Args:
        vocab_size: distinct characters.
        hidden_size: units.
        learning_rate: SGD's.
        seed: seed of the weights and the initial state.
    """

    def __init__(
        self, vocab_size: int, hidden_size: int = 128, *, learning_rate: float = 0.1, seed: int = 0
    ) -> None:
        torch.manual_seed(seed)
        self.vocab_size = vocab_size
        self.model = RecurrentNetwork(vocab_size, hidden_size)
        self.criterion = nn.NLLLoss()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=learning_rate)
        self.state, self.pointer = self.model.initial_state(), 0

    def one_hot(self, char_id: int) -> torch.Tensor:
        vector = torch.zeros(1, self.vocab_size)
        vector[0, char_id] = 1
        return vector

    def train(self, ids: np.ndarray, num_steps: int) -> float:
        """Train on the next `num_steps` characters; return their mean loss in nats."""
        total = 0.0
        for _ in range(num_steps):
            if self.pointer + 1 >= len(ids):
                self.pointer, self.state = 0, self.model.initial_state()
            character = self.one_hot(int(ids[self.pointer]))
            target = torch.tensor([int(ids[self.pointer + 1])])
            self.optimizer.zero_grad()
            output, state = self.model(character, self.state)
            loss = self.criterion(output, target)
            loss.backward()
            self.optimizer.step()
            self.state = state.detach()
            total += loss.item()
            self.pointer += 1
        return total / num_steps
