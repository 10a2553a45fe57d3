"""A small GPT in plain PyTorch: nanoGPT's setting for Shakespeare's characters on a laptop's processor.

Our own implementation of the description: 4 blocks of 4 heads, 128 wide, context 64, batch 12, no dropout;
learned positions, layer norm before each branch, GELU, no biases, the output tied to the embedding; weights
normal × 0.02, those that add to the residual stream divided by √(2 · blocks). AdamW, β 0.9 and 0.99, weight
decay 0.1 on matrices alone, gradient norm clipped at 1; the learning rate rises to 1e-3 over 100 steps and
falls along a cosine to 1e-4 at the last of 2,000. Documented: 0.80 M parameters, 1.88 nats on the last tenth
of tiny Shakespeare after about three minutes.

Shapes: B batch, T time, D width, V vocabulary.
"""

from __future__ import annotations

import math
import time

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from charloom.text.batching import Window

BLOCKS, HEADS, WIDTH, CONTEXT, BATCH = 4, 4, 128, 64, 12
STEPS, WARMUP, PEAK, LAST = 2_000, 100, 1e-3, 1e-4


class Attention(nn.Module):
    """Causal attention: softmax(q kᵀ / √(D / heads)) v over each position and those before it."""

    def __init__(self, width: int = WIDTH, heads: int = HEADS, *, bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=bias)
        self.proj = nn.Linear(width, width, bias=bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        B, T, D = x.shape
        heads = (B, T, self.heads, D // self.heads)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.qkv(x).split(D, dim=2))
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.proj(seen.transpose(1, 2).reshape(B, T, D))


class Block(nn.Module):
    """x ← x + attention(norm(x)), then x ← x + mlp(norm(x))."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(WIDTH, bias=False)
        self.attention = Attention()
        self.mlp_norm = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.proj = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.proj(functional.gelu(self.up(self.mlp_norm(x))))


class GPT(nn.Module):
    """Characters and their positions → blocks → norm → logits (B, T, V)."""

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, WIDTH)
        self.positions = nn.Embedding(CONTEXT, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(BLOCKS))
        self.norm = nn.LayerNorm(WIDTH, bias=False)
        for name, weight in self.named_parameters():
            if weight.dim() == 2:
                narrow = math.sqrt(2 * BLOCKS) if name.endswith("proj.weight") else 1.0
                nn.init.normal_(weight, std=0.02 / narrow)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.embedding.weight)  # tied


class PlainGPT:
    """The network with its optimiser.

    Args:
        vocab_size: V.
        num_steps: updates until the learning rate reaches its minimum.
        seed: seed of the weights.
    """

    def __init__(self, vocab_size: int, *, num_steps: int = STEPS, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model, self.num_steps, self.taken = GPT(vocab_size), num_steps, 0
        weights = list(self.model.parameters())
        groups = [
            {"params": [w for w in weights if w.dim() == 2], "weight_decay": 0.1},
            {"params": [w for w in weights if w.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99))

    @property
    def num_params(self) -> int:
        """The number of parameters as nanoGPT counts them: without the positions."""
        return sum(w.numel() for w in self.model.parameters()) - self.model.positions.weight.numel()

    def step(self, inputs: np.ndarray, targets: np.ndarray) -> float:
        """Take one update on windows (B, T), T ≤ `CONTEXT`; return their mean loss before it, nats."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.taken, self.num_steps)
        loss = self._losses(inputs, targets).mean()
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.taken += 1
        return float(loss.detach())

    def initial_state(self, _: int) -> None:
        """None: the network has no state beyond its window."""

    def losses(self, windows: Window, _: None = None) -> tuple[np.ndarray, None]:
        """The loss of each target, (B, T), nats, and no state: every window starts with an empty context."""
        with torch.no_grad():
            return self._losses(windows.inputs, windows.targets).numpy(), None

    def _losses(self, inputs: np.ndarray, targets: np.ndarray) -> torch.Tensor:
        logits = self.model(torch.from_numpy(inputs)).flatten(0, 1)  # (B·T, V)
        losses = functional.cross_entropy(logits, torch.from_numpy(targets).reshape(-1), reduction="none")
        return losses.view(targets.shape)


def taught(ids: np.ndarray, vocab_size: int, *, seed: int = 0) -> tuple[PlainGPT, list[float]]:
    """A network trained for `STEPS` on a text, and the seconds of each step."""
    trainer, rng, seconds = PlainGPT(vocab_size, seed=seed), np.random.default_rng(seed), []
    for _ in range(STEPS):
        batch = random_windows(ids, rng)
        began = time.perf_counter()
        trainer.step(*batch)
        seconds.append(time.perf_counter() - began)
    return trainer, seconds


def learning_rate(step: int, num_steps: int) -> float:
    """The learning rate of update `step`, counted from 0: a linear rise, then half a cosine.

    Example:
        >>> [round(learning_rate(step, 2_000), 6) for step in (0, 100, 1_050, 2_000)]
        [1e-05, 0.001, 0.00055, 0.0001]
    """
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    progress = (step - WARMUP) / (num_steps - WARMUP)
    return LAST + 0.5 * (1 + math.cos(math.pi * min(1.0, progress))) * (PEAK - LAST)


def random_windows(
    ids: np.ndarray, rng: np.random.Generator, *, batch_size: int = BATCH, length: int = CONTEXT
) -> tuple[np.ndarray, np.ndarray]:
    """A batch of windows at random positions in a text: inputs and targets, (B, T) each."""
    starts = rng.integers(0, len(ids) - length, batch_size)
    block = ids[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return block[:, :-1], block[:, 1:]
