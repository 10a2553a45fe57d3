"""Loss by protocol: what a figure was measured on, and how much context each prediction had.

    stream    one pass over the whole text with carried state
    windows   random windows from zero state, every position counted (nanoGPT's protocol)
    dynamic   the stream, but each chunk is scored first and learnt from after

The three are different measurements and never share a column. All are means over characters, in nats.

Source: windows: the evaluation of nanoGPT (Karpathy 2022), there 200 batches of 64; dynamic: Mikolov et al. (2010),
Krause et al. (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from charloom.engines import Learner, Model, State
from charloom.errors import DataError
from charloom.rng import Purpose, uniforms
from charloom.text.windows import Plan, Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Int
    from numpy import ndarray as Array

Protocol = Literal["windows", "stream", "dynamic"]
Read = TypeVar("Read")

EXACT_STREAM_CHARS = 250_000
"""A longer text is passed in several stretches side by side, each begun `PRIMING_CHARS` before its first scored one."""

PRIMING_CHARS = 1024
_PASS_LENGTH = 256
_MAX_LANES = 64


@dataclass(frozen=True, slots=True)
class Score:
    """A loss with what it was measured on.

    Attributes:
        protocol: stream, windows or dynamic.
        chars: predictions counted.
        loss_nats: mean nats a character.
        unknown_chars: characters the model has never seen.
    """

    protocol: Protocol
    chars: int
    loss_nats: float
    unknown_chars: int = 0

    @property
    def bits_per_char(self) -> float:
        """Loss in bits: nats / ln 2."""
        return self.loss_nats / math.log(2)

    @property
    def perplexity(self) -> float:
        """The exponential of the loss in nats."""
        return math.exp(self.loss_nats)


def stream_loss(model: Model, ids: Int[Array, "N"], *, boundary_id: int | None = None) -> Score:
    """Score a text in one pass with carried state, from zero state at its first character.

    A text over `EXACT_STREAM_CHARS` is passed in as many stretches as bring each under that length; each begins with
    `PRIMING_CHARS` unscored characters, so that its state is warm. docs/lab-log.md holds the measured difference.

    Args:
        model: any engine's.
        ids: the text, (N,); N − 1 predictions.
        boundary_id: the symbol before which state is reset, or None.

    Raises:
        DataError: fewer than two characters.
    """
    _need(ids, 2)
    return _score_stretches(model, ids, exact_stretches(len(ids) - 1), PRIMING_CHARS, boundary_id)


def stream_estimate(
    model: Model, ids: Int[Array, "N"], *, max_chars: int, boundary_id: int | None = None
) -> Score:
    """Estimate `stream_loss` quickly: evenly spaced, primed stretches of at most `max_chars` in all, side by side.

    Training compares its own steps by it; a figure to quote comes from `stream_loss`.
    """
    _need(ids, 2)
    num = len(ids) - 1
    lanes = max(1, min(_MAX_LANES, num // _PASS_LENGTH))
    edges = np.linspace(0, num, lanes + 1).astype(np.int64)
    ends = np.minimum(edges[1:], edges[:-1] + max(1, max_chars // lanes))
    return _score_stretches(model, ids, (edges[:-1], ends), _PASS_LENGTH, boundary_id)


def windows_loss(
    model: Model,
    ids: Int[Array, "N"],
    *,
    window: int = 256,
    num_windows: int = 200 * 64,
    seed: int = 0,
    batch_size: int = 64,
    boundary_id: int | None = None,
) -> Score:
    """Score random windows from zero state, every position counted.

    Args:
        model: any engine's.
        ids: the text, (N,).
        window: characters of a window.
        num_windows: how many; 200 × 64 for a figure to quote.
        seed: chooses the windows; the same for every batch size.
        batch_size: windows side by side.
        boundary_id: the symbol before which state is reset, or None.

    Raises:
        DataError: the text is shorter than a window and its target.
    """
    _need(ids, window + 1)
    u = uniforms(seed, Purpose.EVALUATE, 0, range(num_windows), 1)[:, 0]
    starts = (u * (len(ids) - window)).astype(np.int64)
    total = 0.0
    for first in range(0, num_windows, batch_size):
        places = starts[first : first + batch_size, None] + np.arange(window)
        batch = _window(ids, places, boundary_id)
        losses, _ = model.losses(batch, model.initial_state(len(places)))
        total += float(losses.sum(dtype=np.float64))
    return Score("windows", num_windows * window, total / (num_windows * window))


def dynamic_loss(learner: Learner, plan: Plan) -> Score:
    """Score a text while learning from it: each window is scored, then learnt from.

    Args:
        learner: holds the trained parameters and the optimiser that adapts them; it is changed.
        plan: one lane over the text, in order (batching stream, batch_size 1, fixed offset).
    """
    assert plan.batch_size == 1
    assert plan.carries
    _, metrics = learner.advance(plan, 0, plan.steps_per_epoch, learner.initial_state(range(1)))
    chars = int(metrics.chars.sum())
    return Score("dynamic", chars, float((metrics.loss * metrics.chars).sum() / chars))


def exact_stretches(num_predictions: int) -> tuple[Int[Array, "L"], Int[Array, "L"]]:
    """The stretches [start, end) of inputs in which `stream_loss` passes a text, each under `EXACT_STREAM_CHARS`."""
    lanes = min(_MAX_LANES, math.ceil(num_predictions / EXACT_STREAM_CHARS))
    edges = np.linspace(0, num_predictions, lanes + 1).astype(np.int64)
    return edges[:-1], edges[1:]


def walk_stretches(
    read: Callable[[Window, State], tuple[Read, State]],
    state: State,
    ids: Int[Array, "N"],
    stretches: tuple[Int[Array, "L"], Int[Array, "L"]],
    *,
    priming: int = PRIMING_CHARS,
    boundary_id: int | None = None,
) -> Iterator[tuple[Int[Array, "L T"], Bool[Array, "L T"], Read]]:
    """Read the stretches [start, end) of inputs side by side, each primed with what stands before it.

    Args:
        read: what to do with a window and the state before it, such as `Model.losses`.
        state: the initial state, of L rows.
        ids: the text, (N,).
        stretches: where they start and end.
        priming: characters read before the first stretch's first.
        boundary_id: the symbol before which state is reset, or None.

    Yields:
        The places of the characters read (their targets stand one further), which of them count, and what `read` made of them.
    """
    starts, ends = stretches
    longest = int((ends - starts).max())
    first = -min(priming, int(starts.max()))
    offsets = [*range(first, 0, _PASS_LENGTH), *range(0, longest, _PASS_LENGTH), longest]
    for begin, end in zip(offsets, offsets[1:]):
        end = min(end, 0) if begin < 0 else end
        places = starts[:, None] + np.arange(begin, end)
        scored = (places >= starts[:, None]) & (places < ends[:, None])
        window = _window(ids, np.clip(places, 0, len(ids) - 2), boundary_id)
        window.resets[places <= 0] = True  # before the text's first character there is nothing to remember
        found, state = read(window, state)
        yield places, scored, found


def _score_stretches(
    model: Model,
    ids: Int[Array, "N"],
    stretches: tuple[Int[Array, "L"], Int[Array, "L"]],
    priming: int,
    boundary_id: int | None,
) -> Score:
    """Mean loss over the stretches."""
    state, total, chars = model.initial_state(len(stretches[0])), 0.0, 0
    for _, scored, losses in walk_stretches(
        model.losses, state, ids, stretches, priming=priming, boundary_id=boundary_id
    ):
        total += float(losses[scored].sum(dtype=np.float64))
        chars += int(scored.sum())
    return Score("stream", chars, total / chars)


def _window(ids: Int[Array, "N"], places: Int[Array, "L T"], boundary_id: int | None) -> Window:
    inputs = ids[places].astype(np.int64)
    resets = np.zeros(inputs.shape, bool) if boundary_id is None else inputs == boundary_id
    return Window(inputs, ids[places + 1].astype(np.int64), resets)


def _need(ids: Int[Array, "N"], chars: int) -> None:
    if len(ids) < chars:
        raise DataError(
            f"the text to score holds {len(ids)} known characters",
            why=f"this protocol needs at least {chars}: each prediction reads one and is compared with the next",
            fix="score a longer text, or lower --window",
        )
