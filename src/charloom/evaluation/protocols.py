"""Loss by protocol: how a text is scored, and how much context each prediction has.

    stream    one pass over the whole text with carried state
    windows   random windows from zero state, every position counted (nanoGPT's protocol)
    dynamic   the stream, but the model trains on each window after scoring it

The three are different measurements and are never mixed in one column. All are means over characters, in nats.

Source: windows: the evaluation of nanoGPT (Karpathy 2022), there 200 batches of 64; dynamic: Mikolov et al. (2010),
Krause et al. (2018).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar
from typing import Protocol as Interface

import numpy as np

from charloom.engines import EngineModel, Metrics, State
from charloom.errors import DataError
from charloom.rng import Purpose, uniforms
from charloom.steps import result_of
from charloom.summary import Summarised, Summary
from charloom.text.batching import Plan, Window

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Float64, Int
    from numpy import ndarray as Array

Protocol = Literal["windows", "stream", "dynamic"]
Read = TypeVar("Read")
Segments = tuple["Int[Array, 'L']", "Int[Array, 'L']"]
"""The starts and (exclusive) ends of L ranges of inputs."""

EXACT_STREAM_CHARS = 16_384
"""A longer text is split into segments read in parallel, each primed with the `PRIMING_CHARS` before it."""

PRIMING_CHARS = 1024
_PASS_LENGTH = 256
_ESTIMATE_LENGTH, _ESTIMATE_PRIMING = 384, 128
"""Fewest characters of a segment of an estimate, and how many before it are read too."""

_SHARED_LANES, _SHARED_LENGTH = 8, 2048
"""Up to eight segments of at least this length cost hardly more time than one: weights are read once for all of them."""

_MAX_LANES = 64
_WINDOWS_AT_ONCE = 32
"""Windows of the dynamic protocol between two reports; the losses of a whole text at once would fill the memory."""

_BLOCK_CHARS, _SHORT_BLOCK_CHARS = 256, 32
"""Characters per block of a standard error: about a paragraph, or a line of a text too short for 32 paragraphs."""


@dataclass(frozen=True, slots=True, repr=False)
class Score(Summarised):
    """A mean loss in nats per character, its protocol, and how many predictions it is measured on.

    Attributes:
        chars: predictions counted.
        unknown_chars: characters that the model has never seen.
        unknown_fraction: their share of the text's characters.
        bytes_per_char: UTF-8 bytes per character of the scored text as the model reads it, normalised; None if unknown.
        standard_error: of the loss in nats, from blocks of consecutive characters; None if not measured.
        unit: what one prediction is of.
    """

    protocol: Protocol
    chars: int
    loss_nats: float
    unknown_chars: int = 0
    unknown_fraction: float = 0.0
    bytes_per_char: float | None = None
    standard_error: float | None = None
    unit: Literal["char", "byte"] = "char"

    @property
    def bits_per_char(self) -> float:
        """Loss in bits: nats / ln 2."""
        return self.loss_nats / math.log(2)

    @property
    def bits_per_byte(self) -> float | None:
        """`bits_per_char` divided by `bytes_per_char`: comparable between scripts and with byte models."""
        return None if self.bytes_per_char is None else self.bits_per_char / self.bytes_per_char

    @property
    def perplexity(self) -> float:
        """The exponential of the loss in nats."""
        return math.exp(self.loss_nats)

    def summary(self) -> Summary:
        """The loss, and how it was measured."""
        per = f"per {'character' if self.unit == 'char' else 'byte'}"
        nats = f"{self.loss_nats:.4f} nats {per}, perplexity {self.perplexity:.3f} {per}"
        how = f"{self.protocol}, {self.chars:,} predictions"
        unknown = f", {self.unknown_chars:,} characters unknown" if self.unknown_chars else ""
        title = f"Score: {self.bits_per_char:.4f} bits {per} = {nats}"
        rows = [("protocol", how + unknown)]
        if self.bits_per_byte is not None:
            rows.append(
                ("bits per byte", f"{self.bits_per_byte:.4f}, {self.bytes_per_char:.3f} bytes per character")
            )
        return Summary(title, tuple(rows))


def stream_loss(
    model: EngineModel,
    ids: Int[Array, "N"],
    *,
    boundary_id: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Score:
    """Score a text in one pass with carried state, from zero state at its first character.

    A text over `EXACT_STREAM_CHARS` is split into segments of at most that length; each begins with `PRIMING_CHARS`
    unscored characters to warm up its state. docs/lab-log/index.md has the measured difference.

    Args:
        model: a model of any engine.
        ids: the text, (N,); N − 1 predictions.
        boundary_id: the symbol before which state is reset, or None.
        on_progress: called with the share of the text read, 0 … 1.

    Raises:
        DataError: fewer than two characters.
    """
    _need(ids, 2)
    return result_of(stream_steps(model, ids, boundary_id=boundary_id), on_progress)


def stream_steps(
    model: EngineModel,
    ids: Int[Array, "N"],
    *,
    boundary_id: int | None = None,
    stops: Callable[[], bool] = lambda: False,
) -> Generator[float, None, Score]:
    """`stream_loss` of at least two characters, in steps: yields the share read so far and returns the score.

    When `stops` returns true, the score is that of the beginnings of the segments, as far as they were read.
    """
    segments = exact_segments(len(ids) - 1)
    return _score_segments(model, ids, segments, PRIMING_CHARS, boundary_id, stops=stops)


def stream_estimate(
    model: EngineModel, ids: Int[Array, "N"], *, max_chars: int, boundary_id: int | None = None
) -> Score:
    """Estimate `stream_loss` quickly, from evenly spaced, primed segments with at most `max_chars` characters in total.

    Training compares its own steps with it; to report a result, use `stream_loss`.
    """
    _need(ids, 2)
    segments = _estimate_segments(len(ids) - 1, max_chars)
    return result_of(_score_segments(model, ids, segments, _ESTIMATE_PRIMING, boundary_id))


def estimate_cost(num_chars: int, max_chars: int) -> int:
    """What `stream_estimate` costs, in characters read: with those before the segments, and as if they were eight at least."""
    return _cost(_estimate_segments(num_chars - 1, max_chars), _ESTIMATE_PRIMING)


def stream_cost(num_chars: int) -> int:
    """What `stream_loss` costs, in the unit of `estimate_cost`."""
    return _cost(exact_segments(num_chars - 1), PRIMING_CHARS)


def _estimate_segments(num: int, max_chars: int) -> Segments:
    lanes = max(1, min(_MAX_LANES, min(num, max_chars) // _ESTIMATE_LENGTH))
    edges = np.linspace(0, num, lanes + 1).astype(np.int64)
    return edges[:-1], np.minimum(edges[1:], edges[:-1] + max(1, max_chars // lanes))


def _cost(segments: Segments, priming: int) -> int:
    starts, ends = segments
    return max(_SHARED_LANES, len(starts)) * (int((ends - starts).max()) + min(priming, int(starts.max())))


def windows_loss(
    model: EngineModel,
    ids: Int[Array, "N"],
    *,
    window: int = 256,
    num_windows: int = 200 * 64,
    seed: int = 0,
    batch_size: int = 64,
    boundary_id: int | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Score:
    """Score random windows from zero state, every position counted.

    Args:
        model: a model of any engine.
        ids: the text, (N,).
        window: characters per window.
        num_windows: how many; 200 × 64 to report a result.
        seed: selects the windows; the same windows for every batch size.
        batch_size: windows per forward pass.
        boundary_id: the symbol before which state is reset, or None.
        on_progress: called with the share of the windows read, 0 … 1.

    Raises:
        DataError: the text is shorter than a window and its last target.
    """
    total, read = 0.0, 0
    how = {"window": window, "num_windows": num_windows, "seed": seed, "batch_size": batch_size}
    for losses in iterate_windows(model, ids, **how, boundary_id=boundary_id):
        total, read = total + float(losses.sum(dtype=np.float64)), read + len(losses)
        if on_progress is not None:
            on_progress(read / num_windows)
    return Score("windows", num_windows * window, total / (num_windows * window))


def iterate_windows(
    model: EngineModel,
    ids: Int[Array, "N"],
    *,
    window: int,
    num_windows: int,
    seed: int = 0,
    batch_size: int = 64,
    boundary_id: int | None = None,
) -> Iterator[Float[Array, "B T"]]:
    """The losses in the windows of `windows_loss`, in nats, a batch at a time.

    Raises:
        DataError: the text is shorter than a window and its last target.
    """
    _need(ids, window + 1)
    u = uniforms(seed, Purpose.EVALUATE, 0, range(num_windows), 1)[:, 0]
    starts = (u * (len(ids) - window)).astype(np.int64)
    for first in range(0, num_windows, batch_size):
        positions = starts[first : first + batch_size, None] + np.arange(window)
        losses, _ = model.losses(_window(ids, positions, boundary_id), model.initial_state(len(positions)))
        yield losses


class Learning(Interface):
    """What is scored while it trains: a `Learner`, or several as one."""

    def initial_state(self, lanes: range) -> State:
        """The state before the first window."""

    def advance(self, plan: Plan, first_step: int, num_steps: int, state: State) -> tuple[State, Metrics]:
        """Score `num_steps` windows from `first_step` on, each before training on it."""


def dynamic_loss(
    learner: Learning, plan: Plan, *, on_progress: Callable[[float], None] | None = None
) -> Score:
    """Score a text while training on it: each window is scored first.

    Args:
        learner: the model in training, which is changed.
        plan: one stream over the text in order (batching stream, batch_size 1, fixed offset).
        on_progress: called with the share of the windows read, 0 … 1.
    """
    assert plan.batch_size == 1
    assert plan.carries
    state, total, chars, num_windows = learner.initial_state(range(1)), 0.0, 0, plan.steps_per_epoch
    for first in range(0, num_windows, _WINDOWS_AT_ONCE):
        number = min(_WINDOWS_AT_ONCE, num_windows - first)
        state, metrics = learner.advance(plan, first, number, state)
        total += float((metrics.loss * metrics.chars).sum())
        chars += int(metrics.chars.sum())
        if on_progress is not None:
            on_progress((first + number) / num_windows)
    return Score("dynamic", chars, total / chars)


def exact_segments(num_predictions: int) -> Segments:
    """The segments that `stream_loss` reads: of at most `EXACT_STREAM_CHARS`, eight if they are long, no more than 64."""
    shared = min(_SHARED_LANES, num_predictions // _SHARED_LENGTH)
    lanes = min(_MAX_LANES, max(shared, math.ceil(num_predictions / EXACT_STREAM_CHARS)))
    edges = np.linspace(0, num_predictions, lanes + 1).astype(np.int64)
    return edges[:-1], edges[1:]


def iterate_segments(
    read: Callable[[Window, State], tuple[Read, State]],
    state: State,
    ids: Int[Array, "N"],
    stretches: Segments,
    *,
    priming: int = PRIMING_CHARS,
    boundary_id: int | None = None,
) -> Iterator[tuple[Int[Array, "L T"], Bool[Array, "L T"], Read]]:
    """Read L segments of inputs in parallel, each primed with the text before it.

    Args:
        read: called with each window and the state before it, such as `EngineModel.losses`.
        state: the initial state, L rows.
        ids: the text, (N,).
        stretches: starts and (exclusive) ends of the segments.
        priming: how many characters to read before each segment.
        boundary_id: the symbol before which state is reset, or None.

    Yields:
        The positions read (each target is one further), which of them count, and the result of `read`.
    """
    starts, ends = stretches
    longest = int((ends - starts).max())
    first = -min(priming, int(starts.max()))
    offsets = [*range(first, 0, _PASS_LENGTH), *range(0, longest, _PASS_LENGTH), longest]
    for begin, end in zip(offsets, offsets[1:]):
        end = min(end, 0) if begin < 0 else end
        positions = starts[:, None] + np.arange(begin, end)
        scored = (positions >= starts[:, None]) & (positions < ends[:, None])
        window = _window(ids, np.clip(positions, 0, len(ids) - 2), boundary_id)
        window.resets[positions <= 0] = True  # no state is carried into the text's first character
        result, state = read(window, state)
        yield positions, scored, result


def _score_segments(
    model: EngineModel,
    ids: Int[Array, "N"],
    segments: Segments,
    priming: int,
    boundary_id: int | None,
    *,
    stops: Callable[[], bool] = lambda: False,
) -> Generator[float, None, Score]:
    state, total, chars = model.initial_state(len(segments[0])), 0.0, 0
    all_chars = int((segments[1] - segments[0]).sum())
    windows = iterate_segments(model.losses, state, ids, segments, priming=priming, boundary_id=boundary_id)
    blocks: list[tuple[Array, Array]] = []
    block = _BLOCK_CHARS if len(ids) > 32 * _BLOCK_CHARS else _SHORT_BLOCK_CHARS
    for _, scored, losses in windows:
        total += float(losses[scored].sum(dtype=np.float64))
        chars += int(scored.sum())
        starts = np.arange(0, scored.shape[1], block)
        nats = np.add.reduceat(np.where(scored, losses, 0.0), starts, axis=1, dtype=np.float64)
        blocks.append((nats.ravel(), np.add.reduceat(scored, starts, axis=1, dtype=np.int64).ravel()))
        yield chars / all_chars
        if chars and stops():
            break
    nats, counts = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Score("stream", chars, total / chars, standard_error=standard_error(nats, counts))


def standard_error(nats: Float64[Array, "B"], chars: Int[Array, "B"]) -> float | None:
    """The standard error of a mean loss, from the summed nats and characters of B blocks.

    Losses of neighbouring characters depend on each other, those of different blocks hardly: with r_b = nats_b −
    mean · chars_b, the error is √(B / (B − 1) Σ r_b²) / Σ chars_b. None for fewer than two blocks.

    Example:
        >>> standard_error(np.array([1.0, 3.0]), np.array([1, 1]))
        1.0
    """
    nats, chars = nats[chars > 0], chars[chars > 0]
    if len(chars) < 2:
        return None
    residuals = nats - nats.sum() / chars.sum() * chars
    spread = len(chars) / (len(chars) - 1) * float((residuals**2).sum())
    return math.sqrt(spread) / int(chars.sum())


def _window(ids: Int[Array, "N"], positions: Int[Array, "L T"], boundary_id: int | None) -> Window:
    inputs = ids[positions].astype(np.int64)
    resets = np.zeros(inputs.shape, bool) if boundary_id is None else inputs == boundary_id
    return Window(inputs, ids[positions + 1].astype(np.int64), resets)


def _need(ids: Int[Array, "N"], chars: int) -> None:
    if len(ids) < chars:
        raise DataError(
            f"the text to score has {len(ids)} known characters",
            why=f"this protocol needs at least {chars}: each prediction reads one and is compared with the next",
            fix="score a longer text, or lower --window",
        )
