"""System D in plain NumPy: loops over time steps, hand-written backpropagation through time, Adagrad.

Our own implementation of the published form: 100 tanh units, one-hot columns, windows of 25 read in order,
the state carried and set to zero when the text wraps, weights normal × 0.01, the sum of the losses
differentiated, each gradient element clipped to [−5, 5]. One thing is corrected: the output bias is trained
(in the published form its gradient stays zero).
"""

from __future__ import annotations

import numpy as np


class PlainNumpyRNN:
    """h_t = tanh(U x_t + W h_{t−1} + b), o_t = V h_t + c, softmax.

    Args:
        vocab_size: distinct characters.
        hidden_size: units.
        seq_length: time steps per window.
        learning_rate: Adagrad's.
        seed: seed of the weights.
    """

    def __init__(
        self,
        vocab_size: int,
        hidden_size: int = 100,
        seq_length: int = 25,
        *,
        learning_rate: float = 0.1,
        seed: int = 0,
    ) -> None:
        rng = np.random.default_rng(seed)
        self.vocab_size, self.hidden_size, self.seq_length = vocab_size, hidden_size, seq_length
        self.learning_rate = learning_rate
        self.U = rng.normal(0, 0.01, (hidden_size, vocab_size))
        self.W = rng.normal(0, 0.01, (hidden_size, hidden_size))
        self.V = rng.normal(0, 0.01, (vocab_size, hidden_size))
        self.b = np.zeros((hidden_size, 1))
        self.c = np.zeros((vocab_size, 1))
        self.memory = [np.zeros_like(p) for p in (self.U, self.W, self.V, self.b, self.c)]
        self.pointer = 0
        self.h = np.zeros((hidden_size, 1))

    def forward(self, inputs: list[int], h_prev: np.ndarray) -> tuple[dict, dict, dict]:
        """Run a window; return one-hot inputs, hidden states and probabilities of every time step."""
        xs, hs, ps = {}, {-1: h_prev}, {}
        for t in range(len(inputs)):
            xs[t] = np.zeros((self.vocab_size, 1))
            xs[t][inputs[t]] = 1
            hs[t] = np.tanh(np.dot(self.U, xs[t]) + np.dot(self.W, hs[t - 1]) + self.b)
            o = np.dot(self.V, hs[t]) + self.c
            e = np.exp(o - np.max(o))
            ps[t] = e / np.sum(e)
        return xs, hs, ps

    def backward(self, xs: dict, hs: dict, ps: dict, targets: list[int]) -> list[np.ndarray]:
        """Backpropagate through time; return the clipped gradients of the summed loss."""
        dU, dW, dV = np.zeros_like(self.U), np.zeros_like(self.W), np.zeros_like(self.V)
        db, dc = np.zeros_like(self.b), np.zeros_like(self.c)
        dh_next = np.zeros_like(self.h)
        for t in reversed(range(len(targets))):
            do = np.copy(ps[t])
            do[targets[t]] -= 1
            dV += np.dot(do, hs[t].T)
            dc += do
            dh = np.dot(self.V.T, do) + dh_next
            da = (1 - hs[t] * hs[t]) * dh
            db += da
            dU += np.dot(da, xs[t].T)
            dW += np.dot(da, hs[t - 1].T)
            dh_next = np.dot(self.W.T, da)
        gradients = [dU, dW, dV, db, dc]
        for gradient in gradients:
            np.clip(gradient, -5, 5, out=gradient)
        return gradients

    def update(self, gradients: list[np.ndarray]) -> None:
        """Take an Adagrad step with 1e-8 inside the root."""
        parameters = (self.U, self.W, self.V, self.b, self.c)
        for p, gradient, memory in zip(parameters, gradients, self.memory, strict=True):
            memory += gradient * gradient
            p += -self.learning_rate * gradient / np.sqrt(memory + 1e-8)

    def train(self, ids: np.ndarray, num_steps: int) -> float:
        """Train on the next `num_steps` windows; return the mean loss in nats per character."""
        losses = []
        for _ in range(num_steps):
            if self.pointer + self.seq_length + 1 > len(ids):
                self.pointer, self.h = 0, np.zeros((self.hidden_size, 1))
            inputs = [int(i) for i in ids[self.pointer : self.pointer + self.seq_length]]
            targets = [int(i) for i in ids[self.pointer + 1 : self.pointer + self.seq_length + 1]]
            xs, hs, ps = self.forward(inputs, self.h)
            losses.append(sum(-np.log(ps[t][targets[t], 0]) for t in range(len(targets))))
            self.update(self.backward(xs, hs, ps, targets))
            self.h = hs[self.seq_length - 1]
            self.pointer += self.seq_length
        return float(np.mean(losses)) / self.seq_length
