"""The sentences of the tour, shared by the terminal and the page."""

from __future__ import annotations

import math

from charloom.generation import sign
from charloom.insight.tour.batch import BatchGrid
from charloom.insight.tour.shapes import ShapeStage
from charloom.insight.tour.softmax import Distribution
from charloom.insight.tour.walkthrough import CorpusFacts, Tour

TAIL = 30
"""Characters of a context to quote in a sentence."""


def corpus_sentences(facts: CorpusFacts) -> list[str]:
    """Size, alphabet, encoding, split."""
    unit = "byte" if facts.unit == "byte" else "character"
    specials = f", plus {' '.join(facts.specials)}" if facts.specials else ""
    said = [
        f"{facts.name}: {facts.num_chars:,} characters, {facts.num_distinct:,} distinct {unit}s{specials}"
    ]
    if facts.encodings:
        said.append(f"encoding: {', '.join(facts.encodings)}")
    held_out = ", ".join(f"{size:,} for {name}" for name, size in facts.split.items() if name != "train")
    return [
        *said,
        f"split: {_count(facts.split['train'], unit)} for training, {held_out or 'nothing held out'}",
    ]


def batch_sentences(batch: BatchGrid) -> list[str]:
    """How the text is laid out in lanes and windows, and what is predicted."""
    B, T = batch.batch_size, batch.bptt_length
    predicted = f"every y is predicted: {B:,} × {T:,} = {_count(B * T, 'prediction')} per step"
    if batch.objective == "last":
        predicted = f"only the last y of each lane is predicted: {_count(B, 'prediction')} per step"
    said = [
        f"one step reads {_count(B, 'lane')} × {_count(T, 'time step')} ({batch.batching}); {_layout(batch)}",
        _between(batch),
        predicted,
        f"one pass over the text takes {_count(batch.steps_per_epoch, 'step')}",
    ]
    if batch.batching == "stream" and batch.first[0].offset:
        said.append(f"in this epoch every lane starts with an offset of {batch.first[0].offset:,} characters")
    return [*said, *batch.notes]


def _layout(batch: BatchGrid) -> str:
    apart = batch.lane_distance
    if batch.batching == "stream":
        where = "" if apart is None else f", starting {apart:,} characters after the previous lane"
        return f"each lane reads its own segment of the text{where}"
    if apart is not None:
        overlap = batch.bptt_length - apart
        shared = f", so neighbouring lanes share {overlap:,}" if overlap > 0 else ""
        return f"each lane starts {_count(apart, 'character')} after the previous one{shared}"
    if batch.batching == "sliding" and batch.batch_size > 1:
        return f"lanes are windows every {batch.stride:,} characters, in shuffled order"
    return "each lane starts at a random position" if batch.batching == "random" else "there is only one lane"


def _between(batch: BatchGrid) -> str:
    """How a lane's window relates to its next one."""
    if batch.carries:
        neighbours = (
            "its last y is the first x of the next step" if set(batch.gaps) == {0} else _gap(batch.gaps)
        )
        return f"a lane continues from step to step: {neighbours}; the state is carried over, the gradient is not"
    where = "" if batch.batching == "random" or batch.lane_distance is None else f"; {_gap(batch.gaps)}"
    return f"the state is zero at the start of every window, so nothing is carried from step to step{where}"


def _gap(gaps: tuple[int, ...]) -> str:
    if not gaps:
        return "there is no second step"
    if gaps[0] == 0:
        return "a lane's next window starts where this one ends"
    distance = _count(abs(gaps[0]), "character")
    return (
        f"a lane's next window starts {distance} {'after' if gaps[0] > 0 else 'before'} the end of this one"
    )


def shape_words(stage: ShapeStage) -> str:
    """A shape with its axis letters.

    Example:
        >>> shape_words(ShapeStage("ids", ("B", "T"), (32, 64), {}, 0, ""))
        'B 32 × T 64'
    """
    return " × ".join(f"{axis} {size:,}" for axis, size in zip(stage.axes, stage.shape, strict=True))


def prediction_sentences(tour: Tour) -> list[str]:
    """The model that predicts, and its loss on the actual character."""
    one = tour.prediction
    model = "this trained model" if tour.trained else "the untrained model (as initialised)"
    where = "a prompt" if one.part == "prompt" else f"the {one.part} part"
    said = [f"the prediction of {model} after {_count(len(one.context), 'character')} of {where}"]
    vocab_size = round(math.exp(one.uniform_nats))
    uniform = f"a uniform guess would cost ln {vocab_size:,} = {one.uniform_nats:.3f} nats"
    if one.actual is None or one.loss_nats is None:
        return [*said, uniform]
    p, bits = math.exp(-one.loss_nats), one.loss_nats / math.log(2)
    cost = f"loss −ln p = {one.loss_nats:.3f} nats = {bits:.3f} bits"
    return [*said, f"the actual next character had p = {p:.4f}: {cost}; {uniform}"]


def tail(context: str) -> str:
    """The end of a context on one line."""
    return context[-TAIL:].replace("\n", "↵")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def distribution_words(one: Distribution, vocab_size: int) -> str:
    """How many characters are left, and the entropy of the choice."""
    left = f"{len(one.chars):,} of {vocab_size:,}" if len(one.chars) < vocab_size else "all"
    return f"{one.name}: {left} characters, entropy {one.entropy_bits:.2f} bits"


def symbol(char: str) -> str:
    """A character as a visible sign, or a special's name."""
    return char if len(char) > 1 else sign(char)
