"""The tour in sentences: what the terminal and the page both say."""

from __future__ import annotations

import math

from charloom.generation import sign
from charloom.insight.tour import CorpusFacts, Tour
from charloom.insight.tour_batch import Batch
from charloom.insight.tour_layers import Stage
from charloom.insight.tour_softmax import Distribution

TAIL = 30
"""Characters of a context that a sentence quotes."""


def corpus_sentences(facts: CorpusFacts) -> list[str]:
    """Size, alphabet, encoding, split."""
    specials = f", and {' '.join(facts.specials)}" if facts.specials else ""
    symbols = f"distinct {'bytes' if facts.unit == 'byte' else 'characters'}"
    said = [f"{facts.name}: {facts.num_chars:,} characters, {facts.num_distinct:,} {symbols}{specials}"]
    if facts.encodings:
        said.append(f"encoding: {', '.join(facts.encodings)}")
    held_out = ", ".join(
        f"{size:,} for {name}" for name, size in facts.split.items() if name in ("validation", "test")
    )
    train = _count(facts.split["train"], "byte" if facts.unit == "byte" else "character")
    return [*said, f"split: {train} to train on, {held_out or 'nothing held out'}"]


def batch_sentences(batch: Batch) -> list[str]:
    """How the text is laid out, which characters are neighbours, and what is predicted."""
    B, T = batch.batch_size, batch.bptt_length
    said = [
        f"one step reads {_count(B, 'lane')} × {_count(T, 'time step')} ({batch.batching}); {_layout(batch)}"
    ]
    said.append(_between(batch))
    if batch.objective == "last":
        said.append(f"only the last y of each lane is predicted: {_count(B, 'prediction')} a step")
    else:
        said.append(f"every y is predicted: {B:,} × {T:,} = {_count(B * T, 'prediction')} a step")
    said.append(f"one pass over the text takes {_count(batch.steps_per_epoch, 'step')}")
    if batch.batching == "stream" and batch.first[0].offset:
        said.append(
            f"in this epoch all lanes begin {batch.first[0].offset:,} characters later than they could"
        )
    return [*said, *batch.notes]


def _layout(batch: Batch) -> str:
    if batch.batching == "stream":
        apart = (
            ""
            if batch.lane_distance is None
            else f", {batch.lane_distance:,} characters from the next lane's"
        )
        return f"each lane reads its own stretch of the text{apart}"
    if batch.lane_distance is not None:
        overlap = batch.bptt_length - batch.lane_distance
        shared = f", so neighbouring lanes share {overlap:,}" if overlap > 0 else ""
        return f"each lane begins {batch.lane_distance:,} after the lane above{shared}"
    if batch.batching == "sliding" and batch.batch_size > 1:
        return f"lanes are windows every {batch.stride:,} characters, in shuffled order"
    return "each lane begins at a random place" if batch.batching == "random" else "there is one lane"


def _between(batch: Batch) -> str:
    """What lies between a lane's window and its next."""
    if batch.carries:
        neighbours = "its last y is its next first x" if set(batch.gaps) == {0} else _gap(batch.gaps)
        return f"from one step to the next a lane goes on: {neighbours}; the state is carried across, the gradient is not"
    where = "" if batch.batching == "random" or batch.lane_distance is None else f"; {_gap(batch.gaps)}"
    return (
        f"the state is zero at the beginning of every window, so nothing is carried from step to step{where}"
    )


def _gap(gaps: tuple[int, ...]) -> str:
    if not gaps:
        return "there is no second step"
    gap = gaps[0]
    if gap == 0:
        return "a lane's next window begins where this one ends"
    return f"a lane's next window begins {abs(gap):,} characters {'behind' if gap > 0 else 'before'} the end of this one"


def shape_words(stage: Stage) -> str:
    """A shape with its letters.

    Example:
        >>> shape_words(Stage("ids", ("B", "T"), (32, 64), {}, 0, ""))
        'B 32 × T 64'
    """
    return " × ".join(f"{axis} {size:,}" for axis, size in zip(stage.axes, stage.shape, strict=True))


def prediction_sentences(tour: Tour) -> list[str]:
    """Whose prediction it is, and what the character that came cost it."""
    one = tour.prediction
    who = (
        "the prediction of this trained model"
        if tour.trained
        else "the prediction of the model as initialised: it has learnt nothing yet"
    )
    where = "a prompt" if one.part == "prompt" else f"the {one.part} part"
    said = [f"{who}, after {_count(len(one.context), 'character')} of {where}"]
    vocab_size = round(math.exp(one.uniform_nats))
    nothing = f"ln {vocab_size:,} = {one.uniform_nats:.3f} nats is the loss of one who knows nothing"
    if one.actual is None or one.loss_nats is None:
        return [*said, nothing]
    p = math.exp(-one.loss_nats)
    cost = f"loss −ln p = {one.loss_nats:.3f} nats = {one.loss_nats / math.log(2):.3f} bits; {nothing}"
    return [*said, f"the character that came had p = {p:.4f}: {cost}"]


def tail(context: str) -> str:
    """The end of a context in one line."""
    return context[-TAIL:].replace("\n", "↵")


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def distribution_words(one: Distribution, vocab_size: int) -> str:
    """How many characters stay, and how undecided the choice is."""
    stays = (
        f"{len(one.chars):,} of {vocab_size:,} characters"
        if len(one.chars) < vocab_size
        else "all characters"
    )
    return f"{one.name}: {stays}, entropy {one.entropy_bits:.2f} bits"


def symbol(char: str) -> str:
    """A character, or a special's name, as a sign that can stand by itself."""
    return char if len(char) > 1 else sign(char)
